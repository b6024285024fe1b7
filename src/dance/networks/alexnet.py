"""AlexNet (Krizhevsky et al. 2012) in the small form of DC's cross-architecture tables.

Convolutions of 128 (5x5), 192 (5x5), 256, 192 and 192 (3x3) filters, each with ReLU; maximum over
2x2 after the first, the second and the last; the maps, flattened, go to the one linear layer. Grey
images of 28 to 31 pixels are padded to 32. Published without norm, which is ``alexnet``;
``alexnet_norm`` has ``network.norm`` after every convolution.
"""

from __future__ import annotations

from torch import nn

from dance.core.errors import ConfigError
from dance.networks.protocol import NETWORKS, Network, NetworkConfig, norm_layer

_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Filters, side of the convolution, and whether a pool follows."""
_SMALLEST = 8
"""Three pools halve the side three times."""


class AlexNet(Network):
    """The network; see the module's text for its form."""

    def __init__(self, norm: str, channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        if resolution < _SMALLEST:
            raise ConfigError(
                f"alexnet needs images of at least {_SMALLEST} pixels: got {resolution}; "
                "use another network (mlp takes any), or larger images (--size)"
            )
        extra = (32 - resolution) // 2 if channels == 1 and 28 <= resolution < 32 else 0
        inputs, size = channels, resolution + 2 * extra
        blocks = []
        for filters, kernel, pool in _LAYERS:
            layers = [
                nn.Conv2d(inputs, filters, kernel, padding=kernel // 2 + extra),
                norm_layer(norm, filters, size, every=True),
                nn.ReLU(),
            ]
            blocks.append(nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else [])))
            inputs, extra, size = filters, 0, size // 2 if pool else size
        self.stem = nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        self.embedding_size = inputs * size * size
        self.classifier = nn.Linear(self.embedding_size, classes)


@NETWORKS.register("alexnet")
def alexnet(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """AlexNet for small images, without norm as published."""
    return AlexNet("none", channels, resolution, classes)


@NETWORKS.register("alexnet_norm")
def alexnet_norm(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """AlexNet for small images with a norm after every convolution."""
    return AlexNet(config.norm, channels, resolution, classes)
