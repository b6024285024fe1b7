"""VGG-11 (Simonyan & Zisserman 2015) in the form of DC's cross-architecture tables.

3x3 convolutions of 64, 128, 256, 256 and four times 512 filters, each followed by norm and ReLU;
2x2 maximum pooling after the first, second, fourth, sixth and last, which ends a stage; one linear
layer. Grey images of 28 to 31 pixels are padded to 32 or 33. The published form needs images of 32
pixels; here the last maps are averaged, which is the same for 32 pixels and allows any resolution
from 32 on.
"""

from __future__ import annotations

import torch
from torch import nn

from dance.networks.protocol import (
    NETWORKS,
    Network,
    NetworkConfig,
    check_resolution,
    grey_padding,
    norm_layer,
)

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Filters of the convolutions before each pooling layer."""
_MIN_RESOLUTION = 32
"""Five pooling layers halve the resolution five times."""


class VGG(Network):
    """The network; the module docstring describes its layers."""

    def __init__(self, norm: str, channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        padding = grey_padding(channels, resolution)
        inputs, size = channels, resolution + 2 * padding
        check_resolution("vgg11", _MIN_RESOLUTION if channels > 1 else 28, resolution)
        blocks = []
        for stage in _STAGES:
            layers: list[nn.Module] = []
            for filters in stage:
                layers += [
                    nn.Conv2d(inputs, filters, 3, padding=1 + padding),
                    norm_layer(norm, filters, size, any_norm=True),
                    nn.ReLU(),
                ]
                inputs, padding = filters, 0
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            size //= 2
        self.stem = nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        self.embedding_size = inputs
        self.classifier = nn.Linear(inputs, classes)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Global average pooling: (n,C,H,W) to (n,C)."""
        return maps.mean((2, 3))


@NETWORKS.register("vgg11")
def vgg11(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """VGG-11 for small images."""
    return VGG(config.norm, channels, resolution, classes)
