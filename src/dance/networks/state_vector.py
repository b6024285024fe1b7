"""States as flat vectors: tensors by name, laid end to end in one order, and an SGD step on them.

A flat vector is what is stored of a network that changes: a checkpoint then has one tensor for all
weights whatever the network, and an optimiser step is one operation on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dance.networks.protocol import Network, State


@dataclass(frozen=True)
class VectorLayout:
    """Where the tensors of a state lie in a vector.

    >>> layout = VectorLayout({"weight": torch.Size((2, 3)), "bias": torch.Size((2,))})
    >>> layout.size
    8
    >>> layout.views(torch.arange(8.0))["bias"]
    tensor([6., 7.])

    Attributes:
        shapes: of the tensors by name, in the order in which they lie.
    """

    shapes: Mapping[str, torch.Size]

    @property
    def size(self) -> int:
        """P, numbers in a vector."""
        return sum(shape.numel() for shape in self.shapes.values())

    def flatten(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Lay tensors end to end.

        Args:
            tensors: by name; names that the layout lacks are left out.

        Returns:
            (P,), a copy, with the autograd graph of ``tensors`` and in the dtype of the first:
            whole numbers among floats, such as batch norm's counters, become floats.
        """
        parts = [tensors[name].flatten() for name in self.shapes]
        return torch.cat([part.to(parts[0].dtype) for part in parts])

    def views(self, vector: torch.Tensor) -> State:
        """Views of a vector (P,) by name; undoes :meth:`flatten` but for the dtypes."""
        parts = vector.split([shape.numel() for shape in self.shapes.values()])
        shapes = self.shapes.items()
        return {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}


def parameter_layout(network: Network) -> VectorLayout:
    """The parameters of a network, in the skeleton's order; buffers are left out."""
    return VectorLayout({name: tensor.shape for name, tensor in network.named_parameters()})


def buffer_layout(network: Network) -> VectorLayout:
    """The buffers of a network, in the skeleton's order: none but those of batch norm."""
    return VectorLayout({name: tensor.shape for name, tensor in network.named_buffers()})


def sgd_step(
    weights: torch.Tensor,
    velocity: torch.Tensor,
    gradient: torch.Tensor,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    """One step of SGD as :class:`torch.optim.SGD` takes it, in place.

    v <- m v + g + d w,   w <- w - lr v.

    Args:
        weights: w, of any shape; changed.
        velocity: v, of the same shape, zero at first; changed.
        gradient: g, of the same shape.
        learning_rate: lr.
        momentum: m, at least 0 and below 1.
        weight_decay: d, weight of the L2 penalty.
    """
    velocity.mul_(momentum).add_(gradient)
    if weight_decay:
        velocity.add_(weights, alpha=weight_decay)
    weights.sub_(velocity, alpha=learning_rate)
