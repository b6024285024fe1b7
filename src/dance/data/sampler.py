"""Batches of real images by class, as a pure function of seed and step."""

from __future__ import annotations

import torch

from dance.core.errors import DataError
from dance.core.rng import keyed_generator
from dance.data.imageset import ImageSet


class ClassSampler:
    """Samples a batch of each class at every step, without replacement within a pass.

    Each class is read in a random order that is shuffled again at the start of every pass; an
    incomplete last batch of a pass is dropped. A class that is not larger than a batch gives all of
    its images at every step, in the order of the set: no random order is drawn, so that sums over
    them are bitwise equal at every step.

    Args:
        train: the set to read from.
        batch: images per class and step; 0 for all images of the class.
        seed: of the random orders.
        classes: the classes to read (None: all); the set needs no images of other classes.

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
        self._steps_per_pass = self._counts // self._sizes
        self._current_pass = torch.full_like(self._counts, -1)
        ends = torch.cumsum(self._sizes, 0)
        position = torch.arange(int(self._sizes.sum()))
        shift = (ends - self._sizes - self._starts).repeat_interleave(self._sizes)
        self._first_batch = position - shift

    def sizes(self) -> list[int]:
        """Number of images that each class gives per step."""
        sizes: list[int] = self._sizes.tolist()
        return sizes

    def batch(self, step: int) -> torch.Tensor:
        """Indices (n,) int64, on the CPU, of the batches of all classes, class after class."""
        passes = step // self._steps_per_pass
        for index in (passes != self._current_pass).nonzero().flatten().tolist():
            self._shuffle(index, int(passes[index]))
        offsets = (step % self._steps_per_pass) * self._sizes
        return self._orders[self._first_batch + offsets.repeat_interleave(self._sizes)]

    def rows(self, label: int, step: int) -> torch.Tensor:
        """Indices (n,) int64, on the CPU, of the batch of class ``label`` at ``step``."""
        index = self._classes.index(label)
        pass_number, batch_number = divmod(step, int(self._steps_per_pass[index]))
        if pass_number != self._current_pass[index]:
            self._shuffle(index, pass_number)
        size = int(self._sizes[index])
        start = int(self._starts[index]) + batch_number * size
        return self._orders[start : start + size].clone()

    def _shuffle(self, index: int, pass_number: int) -> None:
        """Put the images of the class at position ``index`` into the order of a pass."""
        self._current_pass[index] = pass_number
        start, count = int(self._starts[index]), int(self._counts[index])
        if count == int(self._sizes[index]):
            return
        generator = keyed_generator(self._seed, "real", self._classes[index], pass_number)
        order = torch.randperm(count, generator=generator)
        self._orders[start : start + count] = self._rows[start : start + count][order]
