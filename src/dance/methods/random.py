"""Random selection: ipc real images of each class, the baseline of every other method."""

from __future__ import annotations

import torch

from dance.core.config import configuration
from dance.core.rng import keyed_generator
from dance.methods.base import METHODS, CondensationTask, Coreset


@configuration
class RandomConfig:
    """Random selection has no settings."""


@METHODS.register("random")
class Random(Coreset):
    """Uniform selection without replacement."""

    title = "Random selection"
    paper = "baseline of every table"
    Config = RandomConfig

    def select(self, task: CondensationTask) -> torch.Tensor:
        """Rows drawn class by class from keyed generators.

        Raises:
            ConfigError: a class has fewer than ipc images.
        """
        chosen = []
        for label in task.classes:
            rows = self.rows(task, label)
            order = torch.randperm(len(rows), generator=keyed_generator(task.seed, "select", label))
            chosen.append(rows[order[: task.ipc]])
        return torch.cat(chosen)
