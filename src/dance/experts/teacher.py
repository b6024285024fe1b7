"""Experts as teachers: how their labels are chosen, and the validation split for the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import AfterValidator, Field

from dance.core.config import AtLeastOne, configuration
from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator
from dance.data.imageset import ImageSet
from dance.networks import Network, State
from dance.training import TrainingData
from dance.training.trainer import probabilities

_IMAGES_PER_HELD_OUT = 10
"""Of this many images of a class, one belongs to the validation split."""


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or min(values) <= 0:
        raise ValueError("must be numbers above 0")
    return values


Positives = Annotated[tuple[float, ...], AfterValidator(_positive)]
"""At least one number, each above 0."""


@configuration
class TeacherConfig:
    """Soft labels: which experts give them, chosen on a tenth of the training images."""

    count: Annotated[AtLeastOne, Field(le=10_000)] = 3
    """Number of experts whose mean probabilities are the labels."""
    lengths: Positives = (0.25, 0.5, 1.0)
    """Lengths of the teachers' training that are tried, as fractions of the experts' epochs."""
    temperatures: Positives = (1.0, 2.0, 4.0)
    """Temperatures that are tried; the teachers' logits are divided by each."""
    students: Annotated[AtLeastOne, Field(le=10_000)] = 2
    """Number of networks that are trained to try one length and one temperature."""
    epochs: AtLeastOne | None = None
    """Passes over the decoded set of each student network (none: as many as make 500 steps)."""

    def tried(self, epochs: int) -> list[tuple[int, float]]:
        """Pairs of a length in epochs and a temperature, each pair once.

        Args:
            epochs: of the experts.
        """
        lengths = dict.fromkeys(max(1, round(fraction * epochs)) for fraction in self.lengths)
        return [
            (length, temperature)
            for length in lengths
            for temperature in dict.fromkeys(self.temperatures)
        ]


def train_val_split(train: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split every class: nine tenths to train teachers on, one tenth to choose among them.

    Args:
        train: the training set.
        seed: of the random split.

    Returns:
        The images to train on, and the held-out ones.

    Raises:
        ConfigError: a class has only one image.
    """
    rows = []
    for label, name in enumerate(train.classes):
        own = train.rows(label).cpu()
        if len(own) < 2:
            raise ConfigError(
                "soft labels need two images of every class, one of them to choose the teacher "
                f"with: class {name!r} has {len(own)}; use --labels hard"
            )
        order = torch.randperm(len(own), generator=keyed_generator(seed, "held out", label))
        rows.append(own[order[: max(1, len(own) // _IMAGES_PER_HELD_OUT)]])
    held_out = torch.zeros(len(train.labels), dtype=torch.bool)
    held_out[torch.cat(rows)] = True

    def part(chosen: torch.Tensor, description: str) -> ImageSet:
        place = chosen.nonzero()[:, 0].to(train.labels.device)
        return replace(
            train,
            images=train.images[place],
            labels=train.labels[place],
            fingerprint=f"{train.fingerprint}, {description} that seed {seed} draws",
        )

    return part(~held_out, "without the tenth"), part(held_out, "the tenth")


def mean_probabilities(
    images: torch.Tensor,
    network: Network,
    states: Sequence[State],
    temperature: float,
    *,
    bfloat16: bool = False,
) -> torch.Tensor:
    """Class probabilities of images, without augmentation, averaged over experts.

    Args:
        images: (n,C,S,S) float32, standardised, on the device.
        network: skeleton of the experts.
        states: their weights, on the device.
        temperature: the logits of each are divided by it before the softmax.
        bfloat16: arithmetic of the networks.

    Returns:
        (n,K) float32, each row summing to 1.
    """
    unused_labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    data = TrainingData(images, unused_labels)
    found = [
        probabilities(network, state, data, temperature, bfloat16=bfloat16) for state in states
    ]
    return torch.stack(found).mean(0)
