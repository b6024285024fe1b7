"""VGG-11 (Simonyan & Zisserman 2015) in the form of DC's cross-architecture tables.

3x3 convolutions of 64, 128, 256, 256 and four times 512 filters, each with norm and ReLU; maximum
over 2x2 after the first, second, fourth, sixth and last; one linear layer. A stage ends in a pool.
Grey images of 28 to 31 pixels are padded to 32. The published form takes 32 pixels alone; here the
last maps are averaged, which is the same there and takes any side from 32 up.
"""

from __future__ import annotations

import torch
from torch import nn

from dance.core.errors import ConfigError
from dance.networks.protocol import NETWORKS, Network, NetworkConfig, norm_layer

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Filters of the convolutions before each pool."""
_SMALLEST = 32
"""Five pools halve the side five times."""


class VGG(Network):
    """The network; see the module's text for its form."""

    def __init__(self, norm: str, channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        extra = (
            (_SMALLEST - resolution) // 2 if channels == 1 and 28 <= resolution < _SMALLEST else 0
        )
        inputs, size = channels, resolution + 2 * extra
        if size < _SMALLEST:
            raise ConfigError(
                f"vgg11 needs images of at least {_SMALLEST} pixels (grey ones: 28): "
                f"got {resolution}; use another network (mlp takes any), or larger images (--size)"
            )
        blocks = []
        for stage in _STAGES:
            layers: list[nn.Module] = []
            for filters in stage:
                layers += [
                    nn.Conv2d(inputs, filters, 3, padding=1 + extra),
                    norm_layer(norm, filters, size, every=True),
                    nn.ReLU(),
                ]
                inputs, extra = filters, 0
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            size //= 2
        self.stem = nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        self.embedding_size = inputs
        self.classifier = nn.Linear(inputs, classes)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Global average."""
        return maps.mean((2, 3))


@NETWORKS.register("vgg11")
def vgg11(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """VGG-11 for small images."""
    return VGG(config.norm, channels, resolution, classes)
