"""DSA as in its authors' code: a single operation, not a chain of them (Zhao & Bilen 2021b).

The operations and their ranges are those of :mod:`dance.augment.operations`; here exactly
one of those that the strategy names is applied to each image. For matching, operation and
parameters are drawn for each class: ``draw(..., K).take(labels)``. For training, one operation is
drawn for a batch, and parameters for each image: ``draw(..., n, shared=True)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dance.augment import siamese
from dance.augment.operation import ordered, parse
from dance.core.errors import ConfigError

_ORDER = ("color", "crop", "cutout", "flip", "scale", "rotate")
"""DSA's strategy, in the order in which an operation is drawn; others follow by name."""


@dataclass(frozen=True)
class Draw:
    """Parameters of n transformations of one operation each, on the CPU.

    Attributes:
        operation: (n,) int64, index into ``parameters``.
        parameters: for every operation, its parameters for all n.
    """

    operation: torch.Tensor
    parameters: tuple[siamese.Draw, ...]

    def take(self, rows: torch.Tensor) -> Draw:
        """The parameters of some rows, (m,) int64 on the CPU, such as the class of each image."""
        return Draw(self.operation[rows], tuple(p.take(rows) for p in self.parameters))


def draw(
    strategy: str, count: int, resolution: int, generator: torch.Generator, *, shared: bool = False
) -> Draw:
    """Draw ``count`` operations and their parameters.

    Args:
        strategy: operations joined by underscores, one of which is drawn uniformly.
        count: n: classes for siamese use, images otherwise.
        resolution: H = W of the images.
        generator: keyed generator on the CPU.
        shared: draw one operation for all n.

    Raises:
        ConfigError: an operation is unknown, or the strategy names none.
    """
    names = ordered(parse(strategy), _ORDER)
    if not names:
        raise ConfigError(f"a strategy must name an operation, such as flip: got {strategy!r}")
    operation = torch.randint(len(names), (1 if shared else count,), generator=generator)
    parameters = tuple(siamese.draw(name, count, resolution, generator) for name in names)
    return Draw(operation.expand(count), parameters)


def apply(images: torch.Tensor, parameters: Draw) -> torch.Tensor:
    """Transform images.

    Args:
        images: (n,C,H,W) float, standardised, on any device.
        parameters: of n transformations.

    Returns:
        (n,C,H,W), differentiable with respect to ``images``.
    """
    changed, order = [], []
    for index, drawn in enumerate(parameters.parameters):
        rows = (parameters.operation == index).nonzero()[:, 0]
        if len(rows) == len(images):
            return siamese.apply(images, drawn.to(images.device))
        if len(rows):
            some = images[rows.to(images.device)]
            changed.append(siamese.apply(some, drawn.take(rows).to(images.device)))
            order.append(rows)
    if not changed:
        return images
    return torch.cat(changed)[torch.cat(order).argsort().to(images.device)]
