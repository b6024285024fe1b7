"""LeNet (LeCun et al. 1998) in the form of DC's cross-architecture tables: ReLU, maximum pooling.

5x5 convolutions of 6 and 16 filters without padding, each followed by ReLU and 2x2 maximum pooling,
then linear layers of 120 and 84 units with ReLU, then the classifier; no norm. Grey images are
padded by 2 pixels, so that 28x28 is treated as 32x32. The published form needs images of 28 or 32
pixels; here the first linear layer is sized for the resolution.
"""

from __future__ import annotations

import torch
from torch import nn

from dance.networks.protocol import NETWORKS, Network, NetworkConfig, check_resolution

_FILTERS = (6, 16)
_UNITS = (120, 84)
_MIN_RESOLUTION = 16
"""Resolution in pixels, with padding, at which the last maps are 1x1."""


class LeNet(Network):
    """The network; the module docstring describes its layers."""

    def __init__(self, channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        padding = 2 if channels == 1 else 0
        check_resolution("lenet", _MIN_RESOLUTION - 2 * padding, resolution)
        first, second = _FILTERS
        self.stem = nn.Identity()
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(channels, first, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)
                ),
                nn.Sequential(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
            ]
        )
        last = ((resolution + 2 * padding - 4) // 2 - 4) // 2
        self.hidden = nn.Sequential(
            nn.Linear(second * last * last, _UNITS[0]),
            nn.ReLU(),
            nn.Linear(_UNITS[0], _UNITS[1]),
            nn.ReLU(),
        )
        self.embedding_size = _UNITS[1]
        self.classifier = nn.Linear(_UNITS[1], classes)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """The hidden linear layers: (n,16,H,W) to (n,84)."""
        hidden: torch.Tensor = self.hidden(maps.flatten(1))
        return hidden


@NETWORKS.register("lenet")
def lenet(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """LeNet, without norm: the smallest of DC's networks."""
    return LeNet(channels, resolution, classes)
