"""Scale and rotate: the image is resampled at positions that a matrix transforms."""

from __future__ import annotations

import torch
from torch.nn import functional

from dance.augment.operation import OPERATIONS, Operation

_SCALE = 1.2
_ANGLE = torch.pi * 15 / 180


class _Resampled(Operation):
    """Bilinear sampling with zero padding; parameters (n,2,2) float32, matrices on (x, y)."""

    @staticmethod
    def apply(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """Sample at the transformed position of each pixel; the image borders are at -1 and 1."""
        theta = functional.pad(parameters, (0, 1)).to(images.dtype)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )


@OPERATIONS.register("scale")
class Scale(_Resampled):
    """Scale width and height independently by U(1/1.2, 1.2); above 1 the content shrinks."""

    @staticmethod
    def draw(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
        """Diagonal matrices."""
        factors = 1 / _SCALE + torch.rand(count, 2, generator=generator) * (_SCALE - 1 / _SCALE)
        return torch.diag_embed(factors)


@OPERATIONS.register("rotate")
class Rotate(_Resampled):
    """Rotate by an angle in U(-15, 15) degrees; positive angles turn counter-clockwise."""

    @staticmethod
    def draw(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
        """Rotation matrices."""
        angle = (torch.rand(count, generator=generator) * 2 - 1) * _ANGLE
        cosine, sine = angle.cos(), angle.sin()
        return torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
