"""Differentiable siamese augmentation (Zhao & Bilen 2021b, in the form of Kim et al. 2022).

:func:`draw` draws the parameters of one transformation per image or per class from a keyed
generator, on the CPU, and :func:`apply` transforms images with them. For the siamese property, by
which real and synthetic images of a class are transformed in the same way, use
``draw(..., count=K).take(labels)`` with the class of each image.

All operations (:mod:`dance.augment.operations`) act on *standardised* images, where 0 is the mean
colour of the data set, in the order of :data:`~dance.augment.operation.ORDER`. ``flip``, ``color``
and ``cutout`` are applied whenever the strategy names them; of the other operations, one is drawn
for the whole call. Gradients flow to the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dance.augment.operation import OPERATIONS, ordered, parse
from dance.core.device import send


@dataclass(frozen=True)
class Draw:
    """Parameters of n transformations.

    Attributes:
        parameters: (n, ...) of each operation that is applied, by its name, in the order of
            application; see the docstring of the operation.
    """

    parameters: Mapping[str, torch.Tensor]

    def take(self, rows: torch.Tensor) -> Draw:
        """The parameters of some rows, (m,) int64, such as the class of each image."""
        return self.like([p[rows] for p in self.tensors()])

    def to(self, device: torch.device) -> Draw:
        """The same parameters on ``device``."""
        return self.like(send(self.tensors(), device))

    def tensors(self) -> list[torch.Tensor]:
        """The parameters, in the order of application."""
        return list(self.parameters.values())

    def like(self, tensors: Sequence[torch.Tensor]) -> Draw:
        """The same operations with other parameters, in the order of :meth:`tensors`."""
        return Draw(dict(zip(self.parameters, tensors, strict=True)))


def draw(strategy: str, count: int, resolution: int, generator: torch.Generator) -> Draw:
    """Draw parameters of ``count`` transformations.

    Args:
        strategy: operations joined by underscores.
        count: n: classes for siamese use, images otherwise.
        resolution: H = W of the images in pixels.
        generator: keyed generator on the CPU; each operation takes its numbers in a fixed order.

    Raises:
        ConfigError: an unknown operation.
    """
    names = ordered(parse(strategy))
    pool = [name for name in names if not OPERATIONS.get(name).always]
    chosen = pool[int(torch.randint(len(pool), (), generator=generator))] if pool else None
    applied = [name for name in names if name == chosen or name not in pool]
    return Draw({name: OPERATIONS.get(name).draw(count, resolution, generator) for name in applied})


def apply(images: torch.Tensor, parameters: Draw) -> torch.Tensor:
    """Transform images.

    Args:
        images: (n,C,H,W) float, standardised.
        parameters: of n transformations, on the same device.

    Returns:
        (n,C,H,W), differentiable with respect to ``images``.
    """
    for name, tensor in parameters.parameters.items():
        images = OPERATIONS.get(name).apply(images, tensor)
    return images
