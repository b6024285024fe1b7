"""A condensed set as a map-style dataset for ``torch.utils.data.DataLoader``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dance.augment import siamese
from dance.augment.operation import parse
from dance.core import rng


class CondensedDataset(Dataset[tuple[Tensor, int | Tensor]]):
    """Network input with its labels, with new random augmentation at every access.

    The augmentation at the t-th access to item i is a pure function of (seed, i, t). The numbers of
    accesses are in shared memory, so any number of workers of a loader, persistent or not, returns
    the same images.

    Args:
        images: (n, C, S, S) float, network input, on the CPU if a loader has workers.
        labels: (n,) int64, or (n, K) float32 probabilities.
        augment: strategy of :mod:`dance.augment.siamese`, such as ``"color_crop_flip"``; None for
            none.
        seed: of the augmentation.

    Raises:
        ConfigError: the strategy names an unknown operation.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, augment: str | None = None, seed: int = 0
    ) -> None:
        self._images = images
        self._labels: list[int] | Tensor = labels.tolist() if labels.ndim == 1 else labels
        self._augment = augment
        self._seed = seed
        self._accesses = torch.zeros(len(images), dtype=torch.int64)
        if augment is not None:
            parse(augment)  # raises for an unknown operation here, not in a worker
            self._accesses.share_memory_()

    def __len__(self) -> int:
        """Number of decoded images."""
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        """Image (C, S, S) and label of one item: an int, or (K,) probabilities."""
        image, label = self._images[index], self._labels[index]
        if self._augment is None:
            return image, label
        index %= len(self)
        generator = rng.keyed_generator(self._seed, "dataset", index, int(self._accesses[index]))
        self._accesses[index] += 1
        parameters = siamese.draw(self._augment, 1, image.shape[-1], generator)
        return siamese.apply(image.unsqueeze(0), parameters).squeeze(0), label

    def set_epoch(self, epoch: int) -> None:
        """Continue as after ``epoch`` accesses to every item, to resume a training."""
        self._accesses.fill_(epoch)
