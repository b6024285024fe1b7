"""Shift the content, with zeros in the uncovered area."""

from __future__ import annotations

from typing import Any

import torch

from dance.augment.operation import OPERATIONS, Operation

_MAX_SHIFT = 0.125
"""Largest shift as a fraction of the resolution."""


@OPERATIONS.register("crop")
class Crop(Operation):
    """Shift by whole pixels, up and left for positive parameters (n,2) int64, rows and columns.

    Each is uniform on -s..s with s = int(0.125 resolution + 0.5).
    """

    @staticmethod
    def draw(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
        """The shift of each image along both axes."""
        largest = int(resolution * _MAX_SHIFT + 0.5)
        return torch.randint(-largest, largest + 1, (count, 2), generator=generator)

    @staticmethod
    def apply(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """Shift, with the opposite shift as gradient."""
        shifted: torch.Tensor = _Shift.apply(images, parameters)  # type: ignore[no-untyped-call]
        return shifted


def _move(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """out[i,j] = in[i+dy, j+dx], 0 outside the image."""
    n, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device) + shift[:, :1]
    columns = torch.arange(width, device=images.device) + shift[:, 1:]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None, :
    ]
    moved = (
        images.flatten(2)
        .gather(2, index.view(n, 1, -1).expand(-1, channels, -1))
        .view(images.shape)
    )
    return moved * inside.unsqueeze(1).to(images.dtype)


class _Shift(torch.autograd.Function):
    """A shift with zero fill.

    Its adjoint is the opposite shift, which is faster than the scatter of autograd.
    """

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(shift)
        return _move(images, shift)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (shift,) = ctx.saved_tensors
        return _Shift.apply(gradient, -shift), None  # type: ignore[no-untyped-call]
