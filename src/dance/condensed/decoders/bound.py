"""Each stored image at the largest factor that a bound on the images allows (IDC's "bound")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dance.condensed.decoders.base import DECODERS, Decoder
from dance.condensed.decoders.grid import Grid


@dataclass(frozen=True)
class Bound(Decoder):
    """Each stored image at one factor, so that a class has at most ``bound`` decoded images.

    From ``factor`` down to 2, as many of the remaining stored images of a class are decoded at that
    factor as fit into the bound, in which one image is reserved for each remaining stored image,
    including these. The others are decoded at factor 1.

    Attributes:
        bound: largest number of decoded images of a class, unless it has more stored images.
    """

    bound: int = 128
    name = "bound"
    source = "Kim et al. 2022, released code"

    def images(self, stored: int) -> int:
        """At most ``bound``, but at least ``stored``."""
        return sum(count * factor**2 for factor, count in self._segments(stored))

    def decode(self, pixels: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """For each class, stored image after stored image; see :meth:`Decoder.decode`."""
        decoded = []
        for stored in pixels.split(list(counts or [len(pixels)])):
            segments = self._segments(len(stored))
            parts = stored.split([count for _, count in segments])
            decoded += [
                Grid(factor).decode(part) for (factor, _), part in zip(segments, parts, strict=True)
            ]
        return torch.cat(decoded)

    def _segments(self, stored: int) -> list[tuple[int, int]]:
        """Factor and number of each run of stored images of a class with the same factor."""
        segments, remaining, bound = [], stored, self.bound
        for factor in range(self.factor, 0, -1):
            fitting = max(0, bound - remaining) // factor**2 if factor > 1 else remaining
            count = min(fitting, remaining)
            if count:
                segments.append((factor, count))
                remaining -= count
                bound -= count * factor**2
        return segments


DECODERS.register(Bound.name)(Bound)
