"""Change brightness, saturation and contrast."""

from __future__ import annotations

import torch

from dance.augment.operation import OPERATIONS, Operation

_BRIGHTNESS = 1.0
"""Width of the range of the added brightness: +-0.5 standardised units."""
_SATURATION = 2.0
_CONTRAST = 0.5


@OPERATIONS.register("color")
class Color(Operation):
    """Brightness, saturation and contrast in one pass.

    Parameters (n,3) float32: brightness to add in U(-0.5, 0.5), saturation factor in U(0, 2),
    contrast factor in U(0.5, 1.5).
    """

    always = True

    @staticmethod
    def draw(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
        """The three parameters of each image."""
        u = torch.rand(count, 3, generator=generator)
        return torch.stack(
            [(u[:, 0] - 0.5) * _BRIGHTNESS, u[:, 1] * _SATURATION, u[:, 2] + _CONTRAST], 1
        )

    @staticmethod
    def apply(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """Compose the three changes.

        With b, s, c of an image, m the mean over channels at each pixel and M the mean of the
        image, the three steps  x+b, m+(x-m)s, M+(x-M)c  compose to
        c s x + c (1-s) m + (1-c) M + b.
        """
        b, s, c = parameters.to(images.dtype).view(-1, 3, 1, 1, 1).unbind(1)
        m = images.mean(1, keepdim=True)
        level = (1 - c) * m.mean((2, 3), keepdim=True) + b
        if images.shape[1] == 1:
            return c * images + level
        return c * s * images + (c * (1 - s) * m + level)
