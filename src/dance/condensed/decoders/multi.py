"""Each stored image at several factors (IDC's "multi")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dance.condensed.decoders.base import DECODERS, Decoder
from dance.condensed.decoders.grid import Grid


@dataclass(frozen=True)
class Multi(Decoder):
    """The stored images of a class at every factor from 1 to ``factor``."""

    name = "multi"
    source = "Kim et al. 2022, released code"

    def images(self, stored: int) -> int:
        """``stored`` times 1 + 4 + ... + l * l."""
        return stored * sum(factor**2 for factor in range(1, self.factor + 1))

    def decode(self, pixels: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """For each class, factor after factor; see :meth:`Decoder.decode`."""
        return torch.cat(
            [
                Grid(factor).decode(stored)
                for stored in pixels.split(list(counts or [len(pixels)]))
                for factor in range(1, self.factor + 1)
            ]
        )


DECODERS.register(Multi.name)(Multi)
