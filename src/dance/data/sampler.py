"""Real batches by class: endless, without replacement, a pure function of (seed, step)."""

from __future__ import annotations

import torch

from dance.core.errors import DataError
from dance.core.rng import keyed_generator
from dance.data.imageset import ImageSet


class ClassSampler:
    """Batches of one size from every class.

    Each class is read in a random order, reshuffled at every pass; an incomplete last batch of a
    pass is dropped. A class not larger than a batch gives all of its images every time, in the
    order of the set: nothing is drawn, so that sums over them have the same bytes at every step.

    Args:
        train: the set to read from.
        batch: images per class and step; 0 for all of the class.
        seed: of the order.
        classes: those to read (none: all); the set needs no images of others.

    Raises:
        DataError: one of the classes has no image.
    """

    def __init__(
        self, train: ImageSet, batch: int, seed: int, classes: range | None = None
    ) -> None:
        self._seed = seed
        self._classes = range(train.num_classes) if classes is None else classes
        labels = train.labels.cpu()
        counts = torch.bincount(labels, minlength=train.num_classes)
        first, last = self._classes.start, self._classes.stop
        before = int(counts[:first].sum())
        self._counts = counts[first:last]
        for label, count in zip(self._classes, self._counts.tolist(), strict=True):
            if not count:
                raise DataError(
                    f"every class needs an image to sample: class {train.classes[label]!r} has none"
                )
        end = before + int(self._counts.sum())
        self._rows = torch.argsort(labels, stable=True)[before:end]
        self._orders = self._rows.clone()
        self._starts = torch.cumsum(self._counts, 0) - self._counts
        self._sizes = self._counts.clamp(max=batch) if batch else self._counts
        self._per_pass = self._counts // self._sizes
        self._turns = torch.full_like(self._counts, -1)
        ends = torch.cumsum(self._sizes, 0)
        place = torch.arange(int(self._sizes.sum()))
        self._slots = place - (ends - self._sizes - self._starts).repeat_interleave(self._sizes)

    def sizes(self) -> list[int]:
        """Images that each class gives per step."""
        found: list[int] = self._sizes.tolist()
        return found

    def batch(self, step: int) -> torch.Tensor:
        """Row numbers (n,) int64 on the CPU of the batches of all classes, class after class."""
        turns = step // self._per_pass
        for place in (turns != self._turns).nonzero().flatten().tolist():
            self._shuffle(place, int(turns[place]))
        passed = (step % self._per_pass) * self._sizes
        return self._orders[self._slots + passed.repeat_interleave(self._sizes)]

    def rows(self, label: int, step: int) -> torch.Tensor:
        """Row numbers (n,) int64 into the set of the batch that ``label`` gives at ``step``."""
        place = self._classes.index(label)
        turn, passed = divmod(step, int(self._per_pass[place]))
        if turn != self._turns[place]:
            self._shuffle(place, turn)
        size = int(self._sizes[place])
        start = int(self._starts[place]) + passed * size
        return self._orders[start : start + size].clone()

    def _shuffle(self, place: int, turn: int) -> None:
        """Bring a class into the order of a pass."""
        self._turns[place] = turn
        start, count = int(self._starts[place]), int(self._counts[place])
        if count == int(self._sizes[place]):
            return
        generator = keyed_generator(self._seed, "real", self._classes[place], turn)
        order = torch.randperm(count, generator=generator)
        self._orders[start : start + count] = self._rows[start : start + count][order]
