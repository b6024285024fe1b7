"""DenseNet-121 with growth 12 (Huang et al. 2017), the form for 32x32 images of DANCE's Table 3.

The stem is a 3x3 convolution with 24 channels and no pooling; the dense blocks have 6, 12, 24 and
16 layers (norm, ReLU, 1x1 convolution to 4*growth channels, norm, ReLU, 3x3 convolution to growth);
transitions halve channels and resolution. The published form ends in a 4x4 average pooling and so
needs 32x32 images; here the last pooling is global, which is the same for 32x32 images and allows
any resolution from 8 on.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from dance.networks.protocol import NETWORKS, Network, NetworkConfig, check_resolution, norm_layer

_GROWTH = 12
_LAYERS = (6, 12, 24, 16)
_MIN_RESOLUTION = 8
"""Three transitions halve the resolution three times."""


class Layer(nn.Module):
    """One dense layer, which concatenates its output and its input."""

    def __init__(self, inputs: int, norm: str, resolution: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(
            norm_layer(norm, inputs, resolution),
            nn.ReLU(),
            nn.Conv2d(inputs, 4 * _GROWTH, 1, bias=False),
        )
        self.grow = nn.Sequential(
            norm_layer(norm, 4 * _GROWTH, resolution),
            nn.ReLU(),
            nn.Conv2d(4 * _GROWTH, _GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n,C,H,W) to (n,growth+C,H,W): the new channels come first."""
        return torch.cat([self.grow(self.squeeze(x)), x], dim=1)


class DenseNet(Network):
    """The network; the module docstring describes its layers."""

    def __init__(self, norm: str, channels: int, resolution: int, classes: int) -> None:
        super().__init__()
        width = 2 * _GROWTH
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        blocks = []
        for index, count in enumerate(_LAYERS):
            block: list[nn.Module] = []
            for _ in range(count):
                block.append(Layer(width, norm, resolution))
                width += _GROWTH
            if index < len(_LAYERS) - 1:
                block += [
                    norm_layer(norm, width, resolution),
                    nn.ReLU(),
                    nn.Conv2d(width, width // 2, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                width, resolution = width // 2, resolution // 2
            blocks.append(nn.Sequential(*block))
        self.blocks = nn.ModuleList(blocks)
        self.last = norm_layer(norm, width, resolution)
        self.embedding_size = width
        self.classifier = nn.Linear(width, classes)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Norm, ReLU and global average pooling: (n,C,H,W) to (n,C)."""
        return functional.relu(self.last(maps)).mean((2, 3))


@NETWORKS.register("densenet121")
def densenet121(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """DenseNet-121 with growth 12, which has about one million parameters."""
    check_resolution("densenet121", _MIN_RESOLUTION, resolution)
    return DenseNet(config.norm, channels, resolution, classes)
