"""AlexNet (Krizhevsky et al. 2012) in the small form of DC's cross-architecture tables.

Convolutions of 128 (5x5), 192 (5x5), 256, 192 and 192 (3x3) filters, each followed by ReLU; 2x2
maximum pooling after the first, the second and the last; one linear layer on the flattened maps.
Grey images of 28 to 31 pixels are padded to 32 or 33. ``alexnet`` has no norm, as published;
``alexnet_norm`` has ``network.norm`` after every convolution.
"""

from __future__ import annotations

from torch import nn

from dance.networks.protocol import (
    NETWORKS,
    Network,
    NetworkConfig,
    check_resolution,
    grey_padding,
    norm_layer,
)

_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Of each layer: filters, kernel size, and whether a pooling layer follows."""
_MIN_RESOLUTION = 8
"""Three pooling layers halve the resolution three times."""


class AlexNet(Network):
    """The network; the module docstring describes its layers."""

    def __init__(self, norm: str, channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        check_resolution("alexnet", _MIN_RESOLUTION, resolution)
        padding = grey_padding(channels, resolution)
        inputs, size = channels, resolution + 2 * padding
        blocks = []
        for filters, kernel, pool in _LAYERS:
            layers = [
                nn.Conv2d(inputs, filters, kernel, padding=kernel // 2 + padding),
                norm_layer(norm, filters, size, any_norm=True),
                nn.ReLU(),
            ]
            blocks.append(nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else [])))
            inputs, padding, size = filters, 0, size // 2 if pool else size
        self.stem = nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        self.embedding_size = inputs * size * size
        self.classifier = nn.Linear(self.embedding_size, classes)


@NETWORKS.register("alexnet")
def alexnet(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """AlexNet for small images, without norm, as published."""
    return AlexNet("none", channels, resolution, classes)


@NETWORKS.register("alexnet_norm")
def alexnet_norm(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """AlexNet for small images with a norm after every convolution."""
    return AlexNet(config.norm, channels, resolution, classes)
