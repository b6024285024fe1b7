"""The embedded data set: scikit-learn's 1,797 hand-written digits, 8x8 grey, without test split."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from dance.data.sources import SOURCES, Labels, Layout, Pixels, Record, Source


class Digits(Source):
    """Records of the arrays that are part of scikit-learn."""

    name = "digits"
    classes = tuple("0123456789")
    splits = ("train",)

    def labels(self, split: str, keep: Collection[int]) -> Labels:
        """See :class:`Source`."""
        labels = _arrays()[1]
        return labels[np.isin(labels, list(keep))]

    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """See :class:`Source`."""
        for row, (pixels, label) in enumerate(zip(*_arrays(), strict=True)):
            if label in keep:
                yield Record(f"digits row {row}", int(label), pixels)

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """An empty list: the digests are those of the arrays."""
        return []

    def stamp(self, keep: Collection[int]) -> str:
        """Hex digest of the arrays."""
        images, labels = _arrays()
        return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()

    def content(self, keep: Collection[int]) -> str:
        """Hex digest of the arrays."""
        return self.stamp(keep)


@cache
def _arrays() -> tuple[Pixels, Labels]:
    """Images (1797, 8, 8) uint8 and labels (1797,) int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.rint(bunch.images / 16 * 255).astype(np.uint8), bunch.target.astype(np.int64)


SOURCES.register("digits")(
    Layout(
        title="the digits of scikit-learn",
        recognises=lambda location: location == "embedded:digits",
        open=lambda location, config: Digits(),
        advised=False,
    )
)
