"""Named, frozen ways to score a set: train networks on it, test them on unseen images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from dance.augment.operation import without
from dance.core.config import AtLeastOne, Option, configuration
from dance.core.errors import ConfigError
from dance.core.registry import Registry
from dance.data.known import is_mirrored
from dance.training import TrainerConfig

Baseline = Literal["random", "whole", "initial"]
Norm = Literal["instance", "batch"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to score. Scores record its name, with the values that a run has changed.

    Attributes:
        name: such as ``dance-v1``.
        source: of its values.
        training: of one network; its ``epochs`` are for images below ``large_resolution``.
        large_epochs: for larger images, ascending (largest number of decoded images per class,
            epochs).
        large_resolution: smallest resolution in pixels of large images.
        exceptions: for named data sets (name, largest number of decoded images per class, epochs),
            ascending for each.
        mirrors_all: whether images are mirrored even where that changes their class, as it does
            for digits (``mirrored`` of :class:`~dance.data.known.Known`).
        steps: SGD steps to make instead of a number of epochs.
        tests_every: epochs between two tests while training; the last epoch is always tested.
        large_tests_every: the same for large images (None: as for others).
        tests: number of evenly spaced tests if there is no such interval.
        repeats: number of networks.
        large_repeats: number of networks for large images (None: as for others).
        norm: of a ConvNet (None: that of the network with which the set was made).
        learned_rate: whether networks start at the learning rate that is stored in the set; if
            there is none, that of ``training`` is used, and the score notes it.
    """

    name: str
    source: str
    training: TrainerConfig
    large_epochs: tuple[tuple[float, int], ...] = ()
    large_resolution: int = 128
    exceptions: tuple[tuple[str, float, int], ...] = ()
    mirrors_all: bool = True
    steps: int | None = None
    tests_every: int | None = None
    large_tests_every: int | None = None
    tests: int = 1
    repeats: int
    large_repeats: int | None = None
    norm: Norm | None = None
    learned_rate: bool = False

    def __post_init__(self) -> None:
        """Refuse rules that give no epochs for large sets."""
        large = [("large images", *rule) for rule in self.large_epochs]
        rules = {name: most for name, most, _ in (*self.exceptions, *large)}  # the last of each
        for name, most in rules.items():
            if most != math.inf:
                raise ConfigError(
                    f"the last rule of protocol {self.name!r} for {name} must be for math.inf "
                    f"images per class, so that there is one for every set: got {most}"
                )

    def schedule(
        self,
        images: int,
        classes: int,
        resolution: int,
        dataset: str = "",
        learning_rate: float | None = None,
    ) -> TrainerConfig:
        """The training of one network.

        Args:
            images: number of decoded images of all classes.
            classes: K.
            resolution: of the images in pixels.
            dataset: name of the known data set; empty for all others.
            learning_rate: that is stored in the set, if any.
        """
        training, per_class = self.training, images / classes
        named = [(most, epochs) for name, most, epochs in self.exceptions if name == dataset]
        rule = named or (self.large_epochs if resolution >= self.large_resolution else ())
        if self.steps is not None:
            batches = math.ceil(images / training.batch_size)
            training = replace(training, epochs=math.ceil(self.steps / batches))
        elif rule:
            training = replace(training, epochs=next(e for most, e in rule if per_class <= most))
        if not (self.mirrors_all or is_mirrored(dataset)):
            training = replace(training, augmentation=without(training.augmentation, "flip"))
        if self.learned_rate and learning_rate is not None:
            training = replace(training, learning_rate=learning_rate)
        return training

    def test_epochs(self, epochs: int, resolution: int) -> list[int]:
        """Epochs after which the network is tested, counted from 1; the last one is included."""
        large = resolution >= self.large_resolution
        interval = self.large_tests_every if large else None
        every = interval or self.tests_every or max(1, epochs // self.tests)
        return sorted({*range(every, epochs + 1, every), epochs})

    def networks(self, resolution: int) -> int:
        """Number of networks for images of this resolution."""
        return (self.large_repeats if resolution >= self.large_resolution else None) or self.repeats


PROTOCOLS: Registry[Protocol] = Registry("protocol", "dance.evaluation.protocols")


@configuration
class EvaluationConfig:
    """How the condensed set is scored."""

    protocol: Annotated[str, Option(short="--protocol", names=PROTOCOLS)] = "dance-v1"
    """Name of the evaluation protocol (``dance list protocols``)."""
    repeats: Annotated[AtLeastOne | None, Field(le=10_000), Option(short="--repeats")] = None
    """Networks that are trained from scratch, each with a seed of its own (none: the protocol's
    number)."""
    epochs: Annotated[AtLeastOne | None, Field(le=10_000_000), Option(short="--epochs")] = None
    """Passes over the decoded set when a network is trained to score it (none: the protocol's
    number; scores note any other)."""
    baselines: tuple[Baseline, ...] = ("random", "whole", "initial")
    """Other sets that are scored for comparison: random (random selection at the same budget),
    whole (the real training set) or initial (the initial stored images)."""
