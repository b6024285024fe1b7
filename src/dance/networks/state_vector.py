"""States as flat vectors, the concatenation of their tensors.

Networks that are being trained are stored as flat vectors, so a checkpoint has one tensor for all
weights of any network, and an optimiser step is one operation on all weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dance.networks.protocol import Network, State


@dataclass(frozen=True)
class VectorLayout:
    """The order and the shapes of the tensors of a state in a flat vector.

    >>> layout = VectorLayout({"weight": torch.Size((2, 3)), "bias": torch.Size((2,))})
    >>> layout.size
    8
    >>> layout.views(torch.arange(8.0))["bias"]
    tensor([6., 7.])

    Attributes:
        shapes: of the tensors by name, in their order in the vector.
    """

    shapes: Mapping[str, torch.Size]

    @property
    def size(self) -> int:
        """P, the length of the vector."""
        return sum(shape.numel() for shape in self.shapes.values())

    def flatten(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Concatenate tensors into a vector.

        Args:
            tensors: by name; tensors whose names are not in the layout are ignored.

        Returns:
            (P,), a copy with the autograd graph of ``tensors``. Its dtype is that of the first
            tensor, so integers among floats, such as the counters of batch norm, become floats.
        """
        parts = [tensors[name].flatten() for name in self.shapes]
        return torch.cat([part.to(parts[0].dtype) for part in parts])

    def views(self, vector: torch.Tensor) -> State:
        """Views of a vector (P,) by name; the inverse of :meth:`flatten`, except for dtypes."""
        parts = vector.split([shape.numel() for shape in self.shapes.values()])
        shapes = self.shapes.items()
        return {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}


def parameter_layout(network: Network) -> VectorLayout:
    """The parameters of a network, in the order of the module; buffers are left out."""
    return VectorLayout({name: tensor.shape for name, tensor in network.named_parameters()})


def buffer_layout(network: Network) -> VectorLayout:
    """The buffers of a network, in the order of the module; only batch norm has any."""
    return VectorLayout({name: tensor.shape for name, tensor in network.named_buffers()})
