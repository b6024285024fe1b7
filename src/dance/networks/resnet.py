"""ResNet-10, ResNet-18 and ResNet-AP-10 in IDC's form (Kim et al. 2022; He et al. 2016).

Basic blocks of two 3x3 convolutions without bias. The layout ``cifar`` has widths 32, 64, 128 and
256 and (depth - 2) // 6 blocks per stage; the layout ``imagenet``, the default, has widths 64, 128,
256 and 512 and the block counts of He et al. The stem depends on the resolution: up to 64 pixels a
3x3 convolution with stride 1; up to 128 pixels the same followed by pooling; above that a 7x7
convolution followed by pooling. ResNet-AP replaces every stride by average pooling.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from dance.networks.protocol import NETWORKS, Network, NetworkConfig, check_resolution, norm_layer

_MAX_SMALL, _MAX_MIDDLE = 64, 128
"""Highest resolutions in pixels for the stem without pooling and for the 3x3 stem with pooling."""
_MIN_RESOLUTION = 8
"""ResNet-AP halves the resolution three times, rounding down."""
_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2)}
_STRIDES = (1, 2, 2, 2)


def _halved(resolution: int, average: bool) -> int:
    """Resolution after a stride of 2 or maximum pooling, or after average pooling (``average``)."""
    return resolution // 2 if average else (resolution + 1) // 2


class Block(nn.Module):
    """Two convolutions and a shortcut; the first one has the stride, or (ResNet-AP) pooling."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: str, average: bool, resolution: int
    ) -> None:
        super().__init__()
        step = 1 if average else stride
        last = _halved(resolution, average) if stride > 1 else resolution
        pool = [nn.AvgPool2d(stride)] if average and stride > 1 else []
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=step, padding=1, bias=False),
            norm_layer(norm, outputs, resolution if average else last),
            nn.ReLU(),
            *pool,
        )
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), norm_layer(norm, outputs, last)
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=step, bias=False),
                *pool,
                norm_layer(norm, outputs, last),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n,C_in,H,W) to (n,C_out,H/stride,W/stride)."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(Network):
    """The network; the module docstring describes its layers."""

    def __init__(
        self,
        config: NetworkConfig,
        depth: int,
        average: bool,
        channels: int,
        resolution: int,
        classes: int,
    ) -> None:
        super().__init__()
        if average:
            check_resolution(config.name, _MIN_RESOLUTION, resolution)
        cifar = config.layout == "cifar"
        widths = (32, 64, 128, 256) if cifar else (64, 128, 256, 512)
        counts = ((depth - 2) // 6,) * 4 if cifar else _BLOCKS[depth]
        large = resolution > _MAX_MIDDLE and not cifar
        if large:
            stem = nn.Conv2d(
                channels, widths[0], 7, stride=1 if average else 2, padding=3, bias=False
            )
            resolution = resolution if average else _halved(resolution, average)
        else:
            stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        norm = norm_layer(config.norm, widths[0], resolution)
        shrink: list[nn.Module] = []
        if large and average:
            shrink, resolution = [nn.AvgPool2d(4)], resolution // 4
        elif large or (resolution > _MAX_SMALL and not cifar):
            shrink = [nn.AvgPool2d(2) if average else nn.MaxPool2d(3, stride=2, padding=1)]
            resolution = _halved(resolution, average)
        self.stem = nn.Sequential(stem, norm, nn.ReLU(), *shrink)
        stages = []
        inputs = widths[0]
        for outputs, count, stride in zip(widths, counts, _STRIDES, strict=True):
            blocks = []
            for block in range(count):
                step = stride if block == 0 else 1
                blocks.append(Block(inputs, outputs, step, config.norm, average, resolution))
                inputs, resolution = (
                    outputs,
                    _halved(resolution, average) if step > 1 else resolution,
                )
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.ModuleList(stages)
        self.embedding_size = widths[-1]
        self.classifier = nn.Linear(self.embedding_size, classes)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Global average pooling: (n,C,H,W) to (n,C)."""
        return maps.mean((2, 3))

    def initialise(
        self, module: nn.Module, name: str, tensor: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """See :meth:`Network.initialise`.

        Convolutions are normal with standard deviation sqrt(2 / (k^2 * output channels)).
        """
        if isinstance(module, nn.Conv2d):
            std = math.sqrt(
                2 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels)
            )
            return tensor.normal_(0, std, generator=generator)
        return super().initialise(module, name, tensor, generator)


@NETWORKS.register("resnet10")
def resnet10(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """ResNet-10, the first cross-architecture column of DANCE's Table 3."""
    return ResNet(config, 10, False, channels, resolution, classes)


@NETWORKS.register("resnet18")
def resnet18(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """ResNet-18."""
    return ResNet(config, 18, False, channels, resolution, classes)


@NETWORKS.register("resnet_ap10")
def resnet_ap10(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """ResNet-AP-10, with average pooling instead of strides: IDC's network for large images."""
    return ResNet(config, 10, True, channels, resolution, classes)
