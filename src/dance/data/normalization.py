"""Normalization: from pixels to the input of a network, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from dance.core.errors import ConfigError
from dance.data.whitening import ZCA, ZCA_STANDARDISED, Whitening

STANDARDISE = "standardise"
"""Its name in files; the names of whitening are in :mod:`dance.data.whitening`."""
_NAMES = (STANDARDISE, ZCA, ZCA_STANDARDISED)
_TENSOR = "whitening"


@dataclass(frozen=True)
class Normalization:
    """Standardisation by channel, or ZCA whitening.

    Attributes:
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        whitening: used instead of mean and std, if it is not None; mean and std are then still
            used elsewhere, such as for noise with the statistics of the data.

    Raises:
        ConfigError: a mean or std is not finite, or a std is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("mean", "std"):
            values = tuple(map(float, getattr(self, name)))
            object.__setattr__(self, name, values)
            if not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} must hold one finite number per channel: got {values}")
        if len(self.mean) != len(self.std):
            raise ConfigError(
                f"mean and std must have one number per channel: got {self.mean}, {self.std}"
            )
        if any(value <= 0 for value in self.std):
            raise ConfigError(f"std must be positive in every channel: got {self.std}")

    def check(self, image: torch.Tensor) -> None:
        """Refuse images of another shape.

        Args:
            image: one of them, (C,S,S).

        Raises:
            ConfigError: they have other channels, or another size than the whitening.
        """
        if len(self.mean) != len(image):
            raise ConfigError(
                f"mean and std must have one number per channel ({len(image)}): got {self.mean}, "
                f"{self.std}"
            )
        if self.whitening is not None and len(self.whitening.mean) != image.numel():
            raise ConfigError(
                f"whitening must be ({1 + image.numel()}, {image.numel()}) float32: got "
                f"{tuple(self.whitening.pack().shape)}"
            )

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Network input of images in [0, 1], differentiable.

        Args:
            images: (n,C,S,S) float; values may leave [0, 1].

        Returns:
            (n,C,S,S) of the same dtype and device: (images - mean) / std, or whitened.
        """
        if self.whitening is not None:
            return self.whitening.apply(images)
        mean, std = _constants(self.mean, self.std, images.dtype, images.device)
        return (images - mean) / std

    def apply_bytes(self, images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Network input of stored real images.

        Standardising is one fused operation here, since every batch of real images passes through
        it: images * 1/(255 std) - mean/std. It rounds differently from :meth:`apply` of
        images / 255, so results are reproducible only if this form is always used for uint8 images
        and the other one for synthetic images.

        Args:
            images: (n,C,S,S) uint8.
            dtype: of the arithmetic and of the result.
        """
        values = images.to(dtype)
        if self.whitening is not None:
            return self.whitening.apply(values / 255)
        mean, std = _constants(self.mean, self.std, dtype, images.device)
        return torch.addcmul(-mean / std, values, 1 / (255 * std))

    def invert(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels of network input (n,C,S,S); they may lie outside [0, 1]."""
        if self.whitening is not None:
            return self.whitening.invert(images)
        mean, std = _constants(self.mean, self.std, images.dtype, images.device)
        return images * std + mean

    def to(self, device: torch.device | str) -> Normalization:
        """The same on another device."""
        if self.whitening is None:
            return self
        return replace(self, whitening=self.whitening.to(device))

    def pack(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Plain data and tensors for :meth:`unpack`: header and body of a file.

        Returns:
            ``name`` (``standardise``, ``zca`` or ``zca_standardised``), ``mean`` and ``std``; and
            for ZCA the tensor ``whitening`` (1+D,D) float32 with D = C*S*S, on the CPU.
        """
        header = {
            "name": STANDARDISE if self.whitening is None else self.whitening.name,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        white = self.whitening
        return header, {} if white is None else {_TENSOR: white.pack().cpu()}

    @staticmethod
    def unpack(header: object, tensors: Mapping[str, torch.Tensor]) -> Normalization:
        """Make a normalization from the result of :meth:`pack`; other tensors are ignored.

        Raises:
            ConfigError: a part is missing, unknown or of another shape.
        """
        if not isinstance(header, Mapping) or set(header) != {"name", "mean", "std"}:
            raise ConfigError(f"a normalization must have name, mean and std: got {header!r}")
        name = header["name"]
        if name not in _NAMES:
            raise ConfigError(f"a normalization must be one of {', '.join(_NAMES)}: got {name!r}")
        packed = tensors.get(_TENSOR)
        if (packed is None) != (name == STANDARDISE):
            raise ConfigError(
                f"a whitened set, and no other, must have its whitening: got {name} "
                f"{'without' if packed is None else 'with'} one"
            )
        for part in ("mean", "std"):
            values = header[part]
            if not isinstance(values, list) or not all(
                isinstance(value, int | float) for value in values
            ):
                raise ConfigError(f"{part} must hold one finite number per channel: got {values!r}")
        white = None if packed is None else Whitening.unpack(packed, name)
        return Normalization(tuple(header["mean"]), tuple(header["std"]), white)


@lru_cache(maxsize=64)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std (C,1,1), cached for all batches: on a GPU each batch would wait for a copy."""
    mean_tensor, std_tensor = (
        torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1) for values in (mean, std)
    )
    return mean_tensor, std_tensor
