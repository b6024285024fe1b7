"""Herding: images whose running mean stays closest to the mean of their class.

For each class, with features f_1..f_n of an expert and their mean m:

1. S = {}
2. for i = 0, ..., ipc - 1: among the images that are not in S, choose the k that minimises
   ||(i + 1) m - sum of f_j over S - f_k||, and add it to S

This is the form of iCaRL (Rebuffi et al. 2017), which the authors of DC name as the source of the
row in their tables. ``rule: welling`` is Welling's rule (2009) as written: w = m; ipc times choose
the k with the largest <w, f_k>, then w = w + m - f_k. The two agree if all features have the same
length; Welling's rule may choose an image again, and the set then contains it twice.

*Choices.* It is not published which features were used for the tables' row, only that the network
was trained on the whole set. Here they are the flattened input of the classifier, neither
normalised nor augmented, under the last weights of one expert (``expert``), trained by the recipe
of DANCE's experts (``experts``), and scores are float64. On held-out training images of CIFAR-10
the length of the training had less effect than its seed (docs/results/methods.md).

*Exact rewriting.* With f' = f - m the norm is ||f'_k + sum of f'_j over S||, so one product with
the features per choice suffices. A smaller set is the beginning of a larger one.

*Deviations.* DeepCore's Herding chooses the farthest image instead of the nearest; papers that
quote it compare with another method.
"""

from __future__ import annotations

from typing import Literal

import torch

from dance.core.config import configuration
from dance.methods.base import METHODS
from dance.methods.toolkit.coreset import FeatureCoreset, SelectionConfig, first_least


@configuration
class HerdingConfig(SelectionConfig):
    """Herding."""

    rule: Literal["icarl", "welling"] = "icarl"
    """Rule of the choice: icarl (keeps the mean of the chosen images close to that of the class) or
    welling (the original rule, which may choose an image again)."""


@METHODS.register("herding")
class Herding(FeatureCoreset):
    """Greedy matching of the class mean."""

    title = "Herding"
    paper = "Welling, ICML 2009; Rebuffi et al., CVPR 2017"
    year = 2009
    Config = HerdingConfig

    def pick(self, features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """The algorithm above for one class; it uses no random numbers."""
        rule = icarl if self.config.rule == "icarl" else welling
        return rule(features, count)


def icarl(features: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (count,) of distinct images whose running mean stays closest to the mean.

    Args:
        features: (n,D) float64.
        count: at most n.
    """
    centred = features - features.mean(0)
    scores = centred.square().sum(1)  # ||f'_k||^2, plus 2 <f'_k, sum of the chosen>
    size = float(scores.max())
    chosen: list[int] = []
    for number in range(count):
        chosen.append(first_least(scores, size * (number + 1)))
        scores += 2 * (centred @ centred[chosen[-1]])
        scores[chosen[-1]] = torch.inf
    return torch.tensor(chosen, dtype=torch.int64)


def welling(features: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (count,) by Welling's rule; an image may be chosen again.

    Args:
        features: (n,D) float64.
        count: any.
    """
    mean = features.mean(0)
    projections = features @ mean
    scores = -projections  # -<w, f_k>
    size = float(features.square().sum(1).max())
    chosen: list[int] = []
    for number in range(count):
        chosen.append(first_least(scores, size * (number + 1)))
        scores += features @ features[chosen[-1]] - projections
    return torch.tensor(chosen, dtype=torch.int64)
