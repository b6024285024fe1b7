"""Pixels in 8 bits: 256 equal levels over a range of each channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dance.core.errors import ConfigError

_LEVELS = 255
_MIN_SPAN = 2.0**-10
"""Smallest span of a range, as a fraction of its largest absolute value (of 1 if that is below 1),
so that its levels differ in float32."""


@dataclass(frozen=True)
class PixelRange:
    """Conversion between float pixels and bytes: pixel = low + byte / 255 * (high - low).

    Attributes:
        low: of byte 0, per channel.
        high: of byte 255, per channel.

    Raises:
        ConfigError: a number is not finite, or a range is empty.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the numbers."""
        both = (*self.low, *self.high)
        if len(self.low) != len(self.high) or not all(
            isinstance(value, int | float) and math.isfinite(value) for value in both
        ):
            raise ConfigError(
                f"a pixel range must have a finite low and high for each channel: got {self.low} "
                f"and {self.high}"
            )
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ConfigError(
                f"a pixel range must have its low below its high in every channel: got {self.low} "
                f"and {self.high}"
            )

    @staticmethod
    def unit(channels: int) -> PixelRange:
        """The range [0, 1] of ordinary 8-bit images."""
        return PixelRange((0.0,) * channels, (1.0,) * channels)

    @staticmethod
    def of(pixels: Tensor) -> PixelRange:
        """The range for pixels (n, C, S, S).

        It is [0, 1] if all of them lie there, so that PNG has the same levels, and otherwise ranges
        from the lowest to the highest value of each channel.
        """
        flat = pixels.detach().transpose(0, 1).flatten(1)
        low, high = flat.amin(1), flat.amax(1)
        if bool((low >= 0).all()) and bool((high <= 1).all()):
            return PixelRange.unit(len(flat))
        smallest = _MIN_SPAN * torch.maximum(low.abs(), high.abs()).clamp(min=1)
        return PixelRange(tuple(low.tolist()), tuple(torch.maximum(high, low + smallest).tolist()))

    def to_bytes(self, pixels: Tensor) -> Tensor:
        """Nearest levels, uint8, of pixels (n, C, S, S) float32."""
        low, span = self._constants(pixels.device)
        return ((pixels - low) / span * _LEVELS).round().clamp(0, _LEVELS).to(torch.uint8)

    def to_floats(self, levels: Tensor) -> Tensor:
        """Pixels (n, C, S, S) float32 of levels, uint8."""
        low, span = self._constants(levels.device)
        return levels.float() / _LEVELS * span + low

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        low, high = (
            torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
            for values in (self.low, self.high)
        )
        return low, high - low
