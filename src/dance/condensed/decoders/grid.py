"""The grid: a stored image consists of l x l small images (IDC's "single", used by DANCE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dance.condensed.decoders.base import DECODERS, Decoder

PADDING = 0.5
"""Grey in unit space, right of and below an image whose resolution the factor does not divide."""


@dataclass(frozen=True)
class Grid(Decoder):
    """Each stored image is cut into l x l cells, which are enlarged to the size of the image.

    Enlarging is bilinear with ``align_corners=False`` and no antialiasing. The authors' code puts
    the first cells of all images first; here the cells of one stored image are consecutive, row by
    row, so that the images of a class are, too.
    """

    name = "grid"
    source = "Kim et al. 2022, section 4.1"

    def images(self, stored: int) -> int:
        """``stored`` times l * l."""
        return stored * self.factor**2

    def decode(self, pixels: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Cut and enlarge; see :meth:`Decoder.decode`.

        The right and bottom edges are padded with 0.5 if the factor does not divide the resolution.
        Channels-last input gives channels-last output.

        Returns:
            (n * l * l, C, S, S); entry ``(i * l + row) * l + column`` is the cell at ``row`` and
            ``column`` of stored image i.
        """
        factor = self.factor
        if factor == 1:
            return pixels
        count, channels, resolution, _ = pixels.shape
        self.check(resolution)
        cell = self.cell(resolution)
        if missing := factor * cell - resolution:
            pixels = functional.pad(pixels, (0, missing, 0, missing), value=PADDING)
        if pixels.is_contiguous(memory_format=torch.channels_last) and not pixels.is_contiguous():
            rows_first = pixels.permute(0, 2, 3, 1).reshape(
                count, factor, cell, factor, cell, channels
            )
            cells = rows_first.transpose(2, 3).reshape(-1, cell, cell, channels).permute(0, 3, 1, 2)
        else:
            grid = pixels.reshape(count, channels, factor, cell, factor, cell)
            cells = grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, cell, cell)
        return functional.interpolate(
            cells, size=(resolution, resolution), mode="bilinear", align_corners=False
        )


DECODERS.register(Grid.name)(Grid)
