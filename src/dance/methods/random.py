"""Random selection: ipc real images of each class, the row every other method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dance.core.errors import ConfigError
from dance.core.rng import generator
from dance.methods.base import METHODS, Coreset, Problem


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Random selection has no settings."""


@METHODS.register("random")
class Random(Coreset):
    """Uniform selection without replacement."""

    title = "Random selection"
    paper = "baseline of every table"
    Config = RandomConfig

    def select(self, problem: Problem) -> torch.Tensor:
        """Rows drawn class by class from keyed generators.

        Raises:
            ConfigError: a class has fewer than ipc images.
        """
        chosen = []
        for label in problem.classes:
            rows = problem.train.rows(label).cpu()
            if len(rows) < problem.ipc:
                raise ConfigError(
                    f"images per class must not exceed the size of any class: got {problem.ipc}, "
                    f"and class {problem.train.classes[label]!r} has {len(rows)}; use a smaller "
                    "--ipc"
                )
            order = torch.randperm(len(rows), generator=generator(problem.seed, "select", label))
            chosen.append(rows[order[: problem.ipc]])
        return torch.cat(chosen)
