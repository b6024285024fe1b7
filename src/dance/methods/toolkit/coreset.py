"""Selection by features, one class after the other: the base of herding, k-means and K-Center.

Features are those of an expert (:func:`dance.experts.features.features`). The features of a class
are computed, used and freed before those of the next, so that memory is that of the largest class.

Scores are float64. Which of two images has the lower score must not depend on the order of a sum,
so scores that differ by less than 1e-12 of the largest summand count as equal, and of equal scores
the first image in the order of the data set is chosen. Copies of an image are such ties.
"""

from __future__ import annotations

from abc import abstractmethod

import torch

from dance.core.config import Count, configuration
from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator
from dance.experts.features import features
from dance.methods.base import CondensationTask, Coreset

_EQUAL = 1e-12
"""Rounding error of a score, as a fraction of its largest summand."""


@configuration
class SelectionConfig:
    """Selection by features."""

    expert: Count = 0
    """Number of the expert, from 0, whose last weights compute the features."""


class FeatureCoreset(Coreset):
    """A coreset chosen class by class from an expert's features."""

    Config = SelectionConfig

    def needs_experts(self) -> bool:
        """An expert computes the features."""
        return True

    @abstractmethod
    def pick(self, features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """Choose images of one class.

        Args:
            features: (n,D) float64, of all images of the class.
            count: number of images to choose; at most n.
            generator: of the class, for methods that use random numbers.

        Returns:
            (count,) int64 on the CPU, in the order of choice.
        """

    def select(self, task: CondensationTask) -> torch.Tensor:
        """Rows chosen class by class.

        Raises:
            ConfigError: a class has fewer than ipc images, or there is no such expert.
        """
        number = self.config.expert
        if not 0 <= number < len(task.experts):
            raise ConfigError(
                f"options.expert must be the number of an expert, below {len(task.experts)}: "
                f"got {number}; raise --experts.count or choose another"
            )
        classes = {label: self.rows(task, label) for label in task.classes}
        chosen = [torch.empty(0, dtype=torch.int64)]
        for label, rows in classes.items():
            class_features = features(
                task.network,
                task.experts[number][1],
                task.train,
                rows,
                task.device,
                bfloat16=task.bfloat16,
            )
            generator = keyed_generator(task.seed, "select", label)
            chosen.append(rows[self.pick(class_features, task.ipc, generator)])
            del class_features  # free the memory before the next class is forwarded
        return torch.cat(chosen)


def first_least(scores: torch.Tensor, size: float) -> int:
    """Index of the least score, the first of equal ones.

    Args:
        scores: (n,) float64; infinite for an image that may not be chosen.
        size: the largest summand of a score.
    """
    return int((scores <= scores.min() + _EQUAL * size).to(torch.uint8).argmax())
