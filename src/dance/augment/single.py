"""DSA as its authors run it: one operation, not a chain of them (Zhao & Bilen 2021b).

The operations and their ranges are those of :mod:`dance.augment.operations`; here each image gets
exactly one of those that the strategy names. For matching, every class draws its own operation and
its own parameters: ``draw(..., K).take(owner)``. For training, a batch shares the operation and
every image has parameters of its own: ``draw(..., n, shared=True)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dance.augment import siamese
from dance.augment.operation import ordered, parse
from dance.core.errors import ConfigError

_NUMBERED = ("color", "crop", "cutout", "flip", "scale", "rotate")
"""DSA's own strategy: its order numbers the operations that are drawn; others follow by name."""


@dataclass(frozen=True)
class Draw:
    """Parameters of n transformations of one operation each; all of it on the CPU.

    Attributes:
        operation: (n,) int64, place in ``parameters``.
        parameters: for every operation, its parameters for all n.
    """

    operation: torch.Tensor
    parameters: tuple[siamese.Draw, ...]

    def take(self, rows: torch.Tensor) -> Draw:
        """Parameters by row: (m,) int64 on the CPU, such as the class of each image."""
        return Draw(self.operation[rows], tuple(p.take(rows) for p in self.parameters))


def draw(
    strategy: str, count: int, resolution: int, generator: torch.Generator, *, shared: bool = False
) -> Draw:
    """Draw ``count`` operations and their parameters.

    Args:
        strategy: operations joined by underscores; one of them is drawn, each as likely.
        count: n: classes for siamese use, images otherwise.
        resolution: H = W of the images.
        generator: keyed generator on the CPU.
        shared: one operation for all n.

    Raises:
        ConfigError: an unknown operation, or none.
    """
    names = ordered(parse(strategy), _NUMBERED)
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
    for place, own in enumerate(parameters.parameters):
        rows = (parameters.operation == place).nonzero()[:, 0]
        if len(rows) == len(images):
            return siamese.apply(images, own.to(images.device))
        if len(rows):
            some = images[rows.to(images.device)]
            changed.append(siamese.apply(some, own.take(rows).to(images.device)))
            order.append(rows)
    if not changed:
        return images
    return torch.cat(changed)[torch.cat(order).argsort().to(images.device)]
