"""Set a square of the image to 0."""

from __future__ import annotations

import torch

from dance.augment.operation import OPERATIONS, Operation

_HOLE = 0.5
"""Width of the hole as a fraction of the resolution of the image."""


@OPERATIONS.register("cutout")
class Cutout(Operation):
    """Set a square of width k = int(0.5 S + 0.5) to 0, S the resolution.

    Parameters (n,2) int64: row and column of its top left corner, which may lie outside. Along each
    axis it is o - k//2 with o uniform on 0..S for even k, 0..S-1 for odd k.
    """

    always = True

    @staticmethod
    def draw(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
        """The corner of each image's hole."""
        hole = _hole(resolution)
        last = resolution + 1 - hole % 2
        return torch.randint(0, last, (count, 2), generator=generator) - hole // 2

    @staticmethod
    def apply(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """Multiply by 0 in the hole and by 1 outside."""
        return images * _outside(parameters, images.shape[-1]).to(images.dtype)


def _hole(resolution: int) -> int:
    return int(resolution * _HOLE + 0.5)


def _outside(corner: torch.Tensor, resolution: int) -> torch.Tensor:
    """(n,1,S,S) bool: false in the hole whose top left corner is (n,2)."""
    place = torch.arange(resolution, device=corner.device) - corner[:, :, None]
    inside = (place >= 0) & (place < _hole(resolution))
    return ~(inside[:, 0, :, None] & inside[:, 1, None, :]).unsqueeze(1)
