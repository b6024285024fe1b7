"""Every stored image at the largest factor that a bound on the images allows (IDC's "bound")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dance.condensed.decoders.base import DECODERS, Decoder
from dance.condensed.decoders.grid import Grid


@dataclass(frozen=True)
class Bound(Decoder):
    """Each stored image at one factor, so that a class does not decode to more than ``bound``.

    From ``factor`` down to 2, the next stored images of a class are read at that factor, as many as
    fit when each stored image that is left, these included, has one picture set aside; the rest is
    read whole.

    Attributes:
        bound: decoded images of a class at most, unless it stores more.
    """

    bound: int = 128
    name = "bound"
    source = "Kim et al. 2022, released code"

    def images(self, stored: int) -> int:
        """At most ``bound``, but never fewer than are stored."""
        return sum(count * factor**2 for factor, count in self._shares(stored))

    def decode(self, pixels: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Of each class, stored image after stored image; see :meth:`Decoder.decode`."""
        found = []
        for own in pixels.split(list(counts or [len(pixels)])):
            shares = self._shares(len(own))
            for (factor, _), part in zip(
                shares, own.split([count for _, count in shares]), strict=True
            ):
                found.append(Grid(factor).decode(part))
        return torch.cat(found)

    def _shares(self, stored: int) -> list[tuple[int, int]]:
        """How many stored images of a class are read at which factor, as (factor, images)."""
        shares, left, room = [], stored, self.bound
        for factor in range(self.factor, 0, -1):
            count = max(0, room - left) // factor**2 if factor > 1 else left
            count = min(count, left)
            if count:
                shares.append((factor, count))
                left -= count
                room -= count * factor**2
        return shares


DECODERS.register(Bound.name)(Bound)
