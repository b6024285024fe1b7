"""The MLP of DC's cross-architecture tables (Zhao et al. 2021): two hidden layers, no norm.

Two linear layers of ``width`` units with ReLU on the pixels of an image, then the classifier. The
images can have any resolution. Its stages are (n,width), without spatial positions.
"""

from __future__ import annotations

from torch import nn

from dance.networks.protocol import NETWORKS, Network, NetworkConfig


class MLP(Network):
    """The network; the module docstring describes its layers."""

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
    """MLP with two hidden layers, without convolution and norm."""
    return MLP(channels * resolution * resolution, config.width, classes)
