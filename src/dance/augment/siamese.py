"""Differentiable siamese augmentation (Zhao & Bilen 2021b, in the form of Kim et al. 2022).

Two pure functions. :func:`draw` makes one parameter set per image or per class from a keyed
generator, on the CPU; :func:`apply` transforms images with them. The siamese property, that real
and synthetic images of a class get the same transformation, is ``draw(..., count=K).take(owner)``
with the class of each image as ``owner``.

All operations act on *standardised* images, where 0 is the mean colour of the data set. Order:
flip, brightness, saturation, contrast, one of {crop, scale, rotate}, cutout. ``flip``, ``color``
and ``cutout`` are applied whenever the strategy names them; of the others one is drawn for the
whole call. Gradients flow to the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from dance.core.device import send
from dance.core.errors import ConfigError, nearest

_ALWAYS = ("flip", "color", "cutout")
_ONE_OF = ("crop", "scale", "rotate")
_BRIGHTNESS = 1.0
"""Width of the additive range: +-0.5 standardised units."""
_SATURATION = 2.0
_CONTRAST = 0.5
_CROP = 0.125
"""Largest shift as a share of the side."""
_CUTOUT = 0.5
"""Side of the hole as a share of the side."""
_SCALE = 1.2
_ROTATE = torch.pi * 15 / 180


@dataclass(frozen=True)
class Draw:
    """Parameters of n transformations; absent operations are none.

    Attributes:
        resolution: of the images in pixels.
        flip: (n,) bool.
        color: (n,3) float32: brightness to add, saturation factor, contrast factor.
        shift: (n,2) int64: rows and columns by which the content moves up and left.
        cutout: (n,2) int64: top left corner of the hole, which may lie outside.
        grid: (n,2,2) float32: matrix applied to the sampling grid (scale or rotate).
    """

    resolution: int
    flip: torch.Tensor | None = None
    color: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    cutout: torch.Tensor | None = None
    grid: torch.Tensor | None = None

    def take(self, rows: torch.Tensor) -> Draw:
        """Parameters by row: (m,) int64 into the n drawn, such as the class of each image."""
        return self.like([p[rows] for p in self.tensors()])

    def to(self, device: torch.device) -> Draw:
        """The same parameters on ``device``."""
        return self.like(send(self.tensors(), device))

    def tensors(self) -> list[torch.Tensor]:
        """The parameters of the operations that there are."""
        return [p for p in self._parameters() if p is not None]

    def like(self, tensors: Sequence[torch.Tensor]) -> Draw:
        """The same operations with other parameters, in the order of :meth:`tensors`."""
        given = iter(tensors)
        return Draw(
            self.resolution, *(None if p is None else next(given) for p in self._parameters())
        )

    def _parameters(self) -> tuple[torch.Tensor | None, ...]:
        return (self.flip, self.color, self.shift, self.cutout, self.grid)


def parse(strategy: str) -> frozenset[str]:
    """The operations that a strategy such as ``"color_crop_cutout"`` names; ``""`` names none.

    Raises:
        ConfigError: an unknown operation.
    """
    names = frozenset(strategy.split("_")) if strategy else frozenset()
    for name in names.difference(_ALWAYS, _ONE_OF):
        raise ConfigError(
            f"unknown augmentation {name!r} in {strategy!r}{nearest(name, _ALWAYS + _ONE_OF)}"
        )
    return names


def draw(strategy: str, count: int, resolution: int, generator: torch.Generator) -> Draw:
    """Draw parameters of ``count`` transformations.

    Args:
        strategy: operations joined by underscores.
        count: n: classes for siamese use, images otherwise.
        resolution: H = W of the images.
        generator: keyed generator on the CPU; each operation takes its numbers in a fixed order.
    """
    names = parse(strategy)
    pool = [name for name in _ONE_OF if name in names]
    chosen = pool[int(torch.randint(len(pool), (), generator=generator))] if pool else None
    flip = torch.rand(count, generator=generator) < 0.5 if "flip" in names else None
    color = shift = cutout = grid = None
    if "color" in names:
        u = torch.rand(count, 3, generator=generator)
        color = torch.stack(
            [(u[:, 0] - 0.5) * _BRIGHTNESS, u[:, 1] * _SATURATION, u[:, 2] + _CONTRAST], 1
        )
    if chosen == "crop":
        reach = int(resolution * _CROP + 0.5)
        shift = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    elif chosen == "scale":
        factors = 1 / _SCALE + torch.rand(count, 2, generator=generator) * (_SCALE - 1 / _SCALE)
        grid = torch.diag_embed(factors)
    elif chosen == "rotate":
        angle = (torch.rand(count, generator=generator) * 2 - 1) * _ROTATE
        cosine, sine = angle.cos(), angle.sin()
        grid = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    if "cutout" in names:
        hole = _hole(resolution)
        cutout = (
            torch.randint(0, resolution + 1 - hole % 2, (count, 2), generator=generator) - hole // 2
        )
    return Draw(resolution, flip, color, shift, cutout, grid)


def apply(images: torch.Tensor, parameters: Draw) -> torch.Tensor:
    """Transform images.

    Args:
        images: (n,C,H,W) float, standardised.
        parameters: of n transformations, on the same device.

    Returns:
        (n,C,H,W), differentiable with respect to ``images``.
    """
    p = parameters
    if p.flip is not None:
        images = torch.where(p.flip.view(-1, 1, 1, 1), images.flip(-1), images)
    if p.color is not None:
        images = _recolor(images, p.color)
    if p.shift is not None:
        images = _Shift.apply(images, p.shift)  # type: ignore[no-untyped-call]
    if p.grid is not None:
        theta = functional.pad(p.grid, (0, 1)).to(images.dtype)
        places = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(
            images, places, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    if p.cutout is not None:
        images = images * _outside(p.cutout, p.resolution).to(images.dtype)
    return images


def _recolor(images: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """Brightness, saturation and contrast in one pass.

    With b, s, c of an image, m the mean over channels at each pixel and M the mean of the image,
    the three steps  x+b, m+(x-m)s, M+(x-M)c  compose to  c s x + c (1-s) m + (1-c) M + b.
    """
    b, s, c = color.to(images.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    m = images.mean(1, keepdim=True)
    level = (1 - c) * m.mean((2, 3), keepdim=True) + b
    if images.shape[1] == 1:
        return c * images + level
    return c * s * images + (c * (1 - s) * m + level)


def _hole(resolution: int) -> int:
    return int(resolution * _CUTOUT + 0.5)


def _outside(corner: torch.Tensor, resolution: int) -> torch.Tensor:
    """(n,1,side,side) bool: false in the hole whose top left corner is (n,2)."""
    place = torch.arange(resolution, device=corner.device) - corner[:, :, None]
    inside = (place >= 0) & (place < _hole(resolution))
    return ~(inside[:, 0, :, None] & inside[:, 1, None, :]).unsqueeze(1)


def _move(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """out[i,j] = in[i+dy, j+dx], 0 where that is outside."""
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

    Its adjoint is the opposite shift, which saves the slow scatter of an indexed read.
    """

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(shift)
        return _move(images, shift)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (shift,) = ctx.saved_tensors
        return _Shift.apply(gradient, -shift), None  # type: ignore[no-untyped-call]
