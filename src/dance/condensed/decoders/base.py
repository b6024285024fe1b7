"""The base class of decoders."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dance.core.errors import ConfigError
from dance.core.registry import Registry


@dataclass(frozen=True)
class Decoder(ABC):
    """Maps stored images to the images that networks see: differentiable, without state.

    A subclass is a frozen dataclass. Its fields are its parameters, integers of at least 1, which
    are stored with its name in the file of a set.

    Attributes:
        factor: l; an initial stored image consists of l x l cells with a real image each.
        name: in files and in the registry.
        source: publication or code in which it was introduced.
    """

    factor: int = 1
    name: ClassVar[str]
    source: ClassVar[str]

    def __post_init__(self) -> None:
        """Check the parameters.

        Raises:
            ConfigError: one is not an integer of at least 1.
        """
        for parameter in self.parameter_names():
            value = getattr(self, parameter)
            if type(value) is not int or value < 1:
                raise ConfigError(
                    f"{parameter} must be a whole number of at least 1: got {value!r}"
                )

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Names of the parameters."""
        return [field.name for field in dataclasses.fields(cls)]

    def pack(self) -> dict[str, Any]:
        """Name and parameters as plain data."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @abstractmethod
    def images(self, stored: int) -> int:
        """Number of decoded images of a class with ``stored`` stored images."""

    @abstractmethod
    def decode(self, pixels: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Decode stored images, class by class.

        Args:
            pixels: (n, C, S, S) float in unit space.
            counts: number of stored images of each class, in order (None: all are of one class).

        Returns:
            (m, C, S, S) of the same dtype, class by class; m is given by :meth:`images`.

        Raises:
            ConfigError: the parameters do not fit the resolution.
        """

    def labels(self, labels: Tensor) -> Tensor:
        """Labels (m,) of what :meth:`decode` returns, from those (n,) of the stored images.

        Args:
            labels: int64, class by class.
        """
        classes, counts = torch.unique_consecutive(labels, return_counts=True)
        images = [self.images(count) for count in counts.tolist()]
        return torch.repeat_interleave(classes, torch.tensor(images, device=labels.device))

    def cell(self, resolution: int) -> int:
        """Height and width of a cell in pixels, ceil(S / l); the last ones may exceed the image."""
        return -(-resolution // self.factor)

    def pads(self, resolution: int) -> bool:
        """Whether :meth:`decode` pads stored images, with grey pixels in unit space."""
        return resolution % self.factor != 0

    def check(self, resolution: int) -> None:
        """Refuse a factor for which a cell of a stored image would have no pixel.

        Args:
            resolution: S, of the stored images in pixels.

        Raises:
            ConfigError: the factor does not fit; the message lists those that do.
        """
        if _fits(self.factor, resolution):
            return
        fitting = [
            str(factor)
            for factor in range(1, min(resolution // 2, 8) + 1)
            if _fits(factor, resolution)
        ]
        raise ConfigError(
            "factor must be at most half of the pixels, and leave some for every cell of a stored "
            f"image: got factor {self.factor} for images of {resolution} x {resolution} pixels; "
            f"use one of {', '.join(fitting or ['1'])}"
        )

    def encode_initial(
        self, images: Tensor, index: Tensor, shrink: Literal["nearest", "bilinear"] = "nearest"
    ) -> Tensor:
        """Make stored images whose cells contain real images.

        Args:
            images: (N, C, S, S) uint8.
            index: (n, l * l) int64, the image of each cell, row by row.
            shrink: interpolation from the size of an image to that of its cell.

        Returns:
            (n, C, S, S) float32 in unit space.
        """
        cell = self.cell(images.shape[-1])
        stored = images.new_zeros((len(index), *images.shape[1:]), dtype=torch.float32)
        for k in range(self.factor**2):
            top, left = k // self.factor * cell, k % self.factor * cell
            target = stored[:, :, top : top + cell, left : left + cell]
            real = images[index[:, k]].float() / 255
            target.copy_(functional.interpolate(real, size=target.shape[-2:], mode=shrink))
        return stored


def _fits(factor: int, resolution: int) -> bool:
    cell = -(-resolution // factor)
    return factor == 1 or (factor <= resolution // 2 and resolution - (factor - 1) * cell >= 1)


DECODERS: Registry[type[Decoder]] = Registry("decoder", "dance.condensed.decoders")
