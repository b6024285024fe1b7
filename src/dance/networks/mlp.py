"""The MLP of DC's cross-architecture tables (Zhao et al. 2021): two hidden layers, no norm.

The pixels of an image, two layers of ``width`` units with ReLU, and the classifier. It takes images
of any size. Its stages are (n,width) and have no places.
"""

from __future__ import annotations

from torch import nn

from dance.networks.protocol import NETWORKS, Network, NetworkConfig


class MLP(Network):
    """The network; see the module's text for its form."""

    def __init__(self, pixels: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Flatten()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), nn.ReLU()) for inputs in (pixels, width)
        )
        self.embedding_size = width
        self.classifier = nn.Linear(width, classes)


@NETWORKS.register("mlp")
def mlp(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """MLP of two hidden layers: no convolution, no norm."""
    return MLP(channels * resolution * resolution, config.width, classes)
