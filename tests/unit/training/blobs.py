"""Small labelled images that a small network can learn."""

from __future__ import annotations

import torch

from dance.core.rng import keyed_generator
from dance.data import ImageSet
from dance.data.normalization import Normalization
from dance.networks import Network, NetworkConfig, State, build
from dance.training import TrainingData

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def blobs(
    count: int = 20, classes: int = 3, resolution: int = 8, seed: int = 0, split: str = "train"
) -> ImageSet:
    """Noise around one random picture per class, uint8 RGB."""
    centres = torch.rand(
        classes, 3, resolution, resolution, generator=keyed_generator(0, "centres")
    )
    generator = keyed_generator(seed, split)
    labels = torch.arange(count) % classes
    noise = torch.rand(count, 3, resolution, resolution, generator=generator)
    images = ((0.5 * centres[labels] + 0.5 * noise) * 255).to(torch.uint8)
    names = tuple(f"class {label}" for label in range(classes))
    return ImageSet(
        images, labels, names, Normalization(MEAN, STD), "blobs", split, f"fingerprint {seed}"
    )


def training(images: ImageSet) -> TrainingData:
    return TrainingData(images.images, images.labels, images.normalization)


def tiny(norm: str = "instance", classes: int = 3, resolution: int = 8) -> Network:
    """One block of 4 filters."""
    return build(NetworkConfig(width=4, depth=1, norm=norm), 3, resolution, classes)  # type: ignore[arg-type]


def start(network: Network, seed: int = 0) -> State:
    return network.initial(keyed_generator(seed, "weights"))
