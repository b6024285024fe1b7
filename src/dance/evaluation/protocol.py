"""Named, frozen ways to score a set: train networks on it, test them on unseen images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from dance.core.errors import ConfigError
from dance.core.registry import Registry
from dance.training import FitConfig

Baseline = Literal["random", "whole", "initial"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to score. A score names it; a run that changes a value changes the name too.

    Attributes:
        name: such as ``dance-v1``.
        source: where its values come from.
        fit: training of one network; its ``epochs`` counts for images below ``large_side``.
        large_epochs: for larger images: (decoded images per class up to, epochs), rising.
        large_side: side in pixels from which images are large.
        steps: SGD steps to make instead of a number of epochs.
        tests_every: epochs between two tests while training; the last epoch is always tested.
        large_tests_every: the same for large images.
        repeats: networks trained.
        large_repeats: the same for large images.
    """

    name: str
    source: str
    fit: FitConfig
    large_epochs: tuple[tuple[float, int], ...] = ()
    large_side: int = 128
    steps: int | None = None
    tests_every: int
    large_tests_every: int
    repeats: int
    large_repeats: int

    def schedule(self, images: int, classes: int, side: int) -> FitConfig:
        """The training of one network on a decoded set of ``images`` images in ``classes``."""
        epochs = self.fit.epochs
        if self.steps is not None:
            epochs = math.ceil(self.steps / math.ceil(images / self.fit.batch_size))
        elif side >= self.large_side and self.large_epochs:
            per_class = images / classes
            epochs = next(epochs for most, epochs in self.large_epochs if per_class <= most)
        return replace(self.fit, epochs=epochs)

    def test_epochs(self, epochs: int, side: int) -> list[int]:
        """After which epochs the network is tested, counted from 1; ends with the last."""
        every = self.large_tests_every if side >= self.large_side else self.tests_every
        return sorted({*range(every, epochs + 1, every), epochs})

    def networks(self, side: int) -> int:
        """Networks trained for images of this side."""
        return self.large_repeats if side >= self.large_side else self.repeats


PROTOCOLS: Registry[Protocol] = Registry("protocol", "dance.evaluation.protocols")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the condensed set is scored.

    Attributes:
        protocol: one of ``dance list protocols``.
        repeats: networks trained from scratch, each with a seed of its own (none: the protocol's
            number, 10 for small images and 3 for large ones).
        epochs: passes over the decoded set (none: the protocol's number; the score says when it is
            another).
        baselines: rows beside the condensed set: ``random`` selection at the same budget, the
            ``whole`` set, the ``initial`` canvases.
    """

    protocol: str = "dance-v1"
    repeats: int | None = None
    epochs: int | None = None
    baselines: tuple[Baseline, ...] = ("random", "whole", "initial")

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: repeats or epochs below 1.
        """
        for name in ("repeats", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"evaluation.{name} must be at least 1: got {value}")
