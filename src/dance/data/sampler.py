"""Real batches by class: endless, without replacement, a pure function of (seed, step)."""

from __future__ import annotations

import torch

from dance.core.rng import generator
from dance.data.imageset import ImageSet


class ClassSampler:
    """Batches of one size from every class.

    Each class is read in a random order, reshuffled at every pass; an incomplete last batch of a
    pass is dropped. A class smaller than a batch gives all of its images every time.

    Args:
        train: the set to read from.
        batch: images per class and step; 0 for all of the class.
        seed: of the order.
    """

    def __init__(self, train: ImageSet, batch: int, seed: int) -> None:
        self._rows = [train.rows(label).cpu() for label in range(train.num_classes)]
        self._batch, self._seed = batch, seed
        self._orders: dict[int, tuple[int, torch.Tensor]] = {}

    def sizes(self) -> list[int]:
        """Images that each class gives per step."""
        return [min(self._batch or len(rows), len(rows)) for rows in self._rows]

    def rows(self, label: int, step: int) -> torch.Tensor:
        """Row numbers (n,) int64 into the set of the batch that ``label`` gives at ``step``."""
        rows = self._rows[label]
        size = min(self._batch or len(rows), len(rows))
        turn, place = divmod(step, len(rows) // size)
        kept, order = self._orders.get(label, (-1, rows))
        if kept != turn:
            order = rows[
                torch.randperm(len(rows), generator=generator(self._seed, "real", label, turn))
            ]
            self._orders[label] = (turn, order)
        return order[place * size : (place + 1) * size]
