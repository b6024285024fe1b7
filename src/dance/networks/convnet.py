"""ConvNet-D of this field (Gidaris & Komodakis 2018; Zhao & Bilen 2021): DANCE's network.

D blocks of 3x3 convolution (width filters, bias), instance norm, ReLU and average pooling 2x2, then
one linear layer. One-channel images smaller than a multiple of 2^D are padded up to it in the first
convolution, which is how the field makes 28x28 act as 32x32.

Width, norm, activation and pooling are settings, as in DC's ablations: any norm of
:func:`~dance.networks.protocol.norm_layer`; ReLU, leaky ReLU of slope 0.01 or sigmoid; average or
maximum over 2x2, or no pooling. The depth follows the resolution in any case.

Deviation from the DANCE paper: it writes pooling of 3x3 with stride 2; all published code and
numbers use 2x2. The paper's form is ``pooling: 3``.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import linear

from dance.core.errors import ConfigError
from dance.kernels import Weights, conv_block, dual_block, dual_fits
from dance.networks.protocol import NETWORKS, Network, NetworkConfig, State, norm_layer

_LAST_SIDE = 4
"""Side of the last maps that the default depth aims at."""
_LEAK = 0.01
"""Slope of the leaky ReLU below 0."""


def default_depth(resolution: int) -> int:
    """Blocks for images of ``resolution`` pixels: the last maps are 4x4 (28 acts as 32).

    >>> [default_depth(resolution) for resolution in (8, 16, 28, 32, 64, 128, 224)]
    [1, 2, 3, 3, 4, 5, 5]
    """
    padded = 32 if 28 <= resolution < 32 else resolution
    return max(1, int(math.log2(padded / _LAST_SIDE)))


class ConvNet(Network):
    """The network; see the module's text for its form.

    Attributes:
        published: whether it has ReLU, average pooling over 2x2 and instance or batch norm.
    """

    def __init__(
        self, config: NetworkConfig, channels: int, resolution: int, classes: int, depth: int
    ) -> None:
        super().__init__()
        width, norm, pooling = config.width, config.norm, config.pooling
        padding = 1
        if channels == 1:
            padding += (-resolution % 2**depth) // 2
        layers = []
        inputs = channels
        size = resolution + 2 * (padding - 1)
        for block in range(depth):
            if size < (2 if pooling in (2, "max") else 1):
                raise ConfigError(
                    f"a ConvNet of depth {depth} needs images of at least {2**depth} pixels: got "
                    f"{resolution}"
                )
            layers.append(
                nn.Sequential(
                    nn.Conv2d(inputs, width, 3, padding=padding if block == 0 else 1),
                    norm_layer(norm, width, size, every=True),
                    _activation(config.activation),
                    _pool(pooling),
                )
            )
            inputs = width
            if pooling != "none":
                size = (size + 1) // 2 if pooling == 3 else size // 2
        self.blocks = nn.ModuleList(layers)
        usual = pooling == 2 and config.activation == "relu"
        self.published = usual and norm in ("instance", "batch")
        self._fused = usual and norm == "instance"
        self.embedding_size = width * size * size
        self.classifier = nn.Linear(self.embedding_size, classes)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps after each block, after pooling."""
        maps = []
        for block in self.blocks:
            x = self._after(block, x)
            maps.append(x)
        return maps

    def activations(self, x: torch.Tensor, *, last: bool = False) -> list[torch.Tensor]:
        """Maps before pooling of all blocks, or of all but the last, then the embeddings."""
        maps = []
        for block in self.blocks if last else self.blocks[:-1]:
            *layers, pool = block.children()
            for layer in layers:
                x = layer(x)
            maps.append(x)
            x = pool(x)
        if not last:
            x = self._after(self.blocks[-1], x)
        return [*maps, self.pool(x)]

    def jvp(
        self, state: State, direction: State, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """By the kernel for a block and its derivative, where there is one."""
        if not self._fused:
            return None

        def tangent(name: str) -> torch.Tensor:
            return direction[name] if name in direction else torch.zeros_like(state[name])

        maps, tangents = x, None
        for number, block in enumerate(self.blocks):
            convolution, norm, *_ = block.children()
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.GroupNorm)
            names = [f"blocks.{number}.{part}" for part in ("0.weight", "1.weight", "1.bias")]
            padding = int(convolution.padding[0])
            if not dual_fits(maps, state[names[0]], padding, moves=tangents is not None):
                return None
            weights, own = (Weights(*map(of, names)) for of in (state.__getitem__, tangent))
            maps, tangents = dual_block(maps, tangents, weights, own, eps=norm.eps, padding=padding)
        assert tangents is not None
        embedding, change = self.pool(maps), self.pool(tangents)
        weight, bias = "classifier.weight", "classifier.bias"
        logits = linear(embedding, state[weight], state[bias])
        own_change = linear(embedding, tangent(weight), tangent(bias))
        return logits, linear(change, state[weight]) + own_change

    def _after(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Maps after a block, as one operation where there is a kernel for it."""
        convolution, norm, *_ = block.children()
        assert isinstance(convolution, nn.Conv2d)
        if not self._fused:
            return block(x)  # type: ignore[no-any-return]
        assert isinstance(norm, nn.GroupNorm)
        return conv_block(
            x,
            convolution.weight,
            convolution.bias,  # type: ignore[arg-type]  # has one, as made above
            norm.weight,
            norm.bias,
            eps=norm.eps,
            padding=int(convolution.padding[0]),
        )


def _activation(name: str) -> nn.Module:
    if name == "relu":
        return nn.ReLU(inplace=True)
    return nn.LeakyReLU(_LEAK) if name == "leaky" else nn.Sigmoid()


def _pool(pooling: int | str) -> nn.Module:
    if pooling == "none":
        return nn.Identity()
    if pooling == "max":
        return nn.MaxPool2d(2)
    return nn.AvgPool2d(2) if pooling == 2 else nn.AvgPool2d(3, stride=2, padding=1)


@NETWORKS.register("convnet")
def convnet(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
    """ConvNet-D, width 128: the field's network for condensing and evaluating."""
    depth = default_depth(resolution) if config.depth is None else config.depth
    if depth < 1:
        raise ConfigError(f"network.depth must be at least 1: got {depth}")
    return ConvNet(config, channels, resolution, classes, depth)
