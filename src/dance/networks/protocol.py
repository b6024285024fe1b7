"""What every network is: a skeleton without weights of its own, called with a state.

A network is built on the meta device and holds no numbers. Its weights live in a plain dictionary
(a *state*: parameters and buffers by name), made by :meth:`Network.initial` from a keyed generator
and given back at every call. So weights can be interpolated, stacked for several networks at once,
stored and replaced without touching a module, and PyTorch's global random generator is never used.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.func import functional_call

from dance.core.errors import ConfigError
from dance.core.registry import Registry

State = dict[str, torch.Tensor]
"""Parameters and buffers by name."""
Output = Literal["logits", "embedding", "stages", "activations", "layers"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network that makes features and experts.

    Attributes:
        name: one of ``dance list networks``.
        depth: blocks of a ConvNet (none: from the resolution, so that the last maps are 4x4: 32 px
            3, 64 px 4, 128 px 5).
        width: filters of a ConvNet's layers, units of an MLP's.
        norm: ``instance`` (no state, the field's choice for condensing), ``batch``, ``group`` (of
            four groups), ``layer`` or ``none``; ResNets and DenseNets take the first three, and
            mlp, lenet and alexnet have no norm whatever stands here.
        pooling: of a ConvNet. 2: average over 2x2 (every published code and number); 3: over 3x3,
            stride 2, as the DANCE paper writes; ``max`` over 2x2, or ``none``.
        layout: widths and depths of a ResNet (none: ``cifar`` for data sets of that name, else
            ``imagenet``).
        activation: of a ConvNet: ``relu``, ``leaky`` (slope 0.01) or ``sigmoid``.
    """

    name: str = "convnet"
    depth: int | None = None
    width: int = 128
    norm: Literal["instance", "batch", "group", "layer", "none"] = "instance"
    pooling: Literal[2, 3, "max", "none"] = 2
    layout: Literal["cifar", "imagenet"] | None = None
    activation: Literal["relu", "leaky", "sigmoid"] = "relu"

    def identity(self) -> dict[str, Any]:
        """What is stored with experts: settings younger than stored ones only where they differ."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "activation" or value != NetworkConfig.activation
        }


class Network(nn.Module):
    """Base of all networks.

    Subclasses set the layers; those whose last maps are not simply flattened define :meth:`pool`.

    Attributes:
        stem: what comes before the blocks.
        blocks: each ends in a stage.
        classifier: the last, linear layer.
        embedding_size: D, the length of what the classifier eats.
    """

    stem: nn.Module
    blocks: nn.ModuleList
    embedding_size: int
    classifier: nn.Linear

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps after each block: standardised images (n,C,H,W) to a list of (n,C_l,H_l,W_l)."""
        maps = []
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Last maps (n,C_L,H_L,W_L) to embeddings (n,D)."""
        return maps.flatten(1)

    def activations(self, x: torch.Tensor, *, last: bool = False) -> list[torch.Tensor]:
        """What attention matching and CAFE compare of standardised images (n,C,H,W).

        Args:
            x: the images.
            last: give the output of the last ReLU too, as CAFE needs it.

        Returns:
            Outputs (n,C_l,H_l,W_l) of every ReLU but the last, before any pooling, then the
            embeddings (n,D).

        Raises:
            ConfigError: this network does not give them.
        """
        raise ConfigError(
            "matching attention or layers needs a network that gives its maps before pooling: got "
            f"{type(self).__name__}; use --network.name convnet"
        )

    def forward(
        self, x: torch.Tensor, output: Output = "logits"
    ) -> torch.Tensor | list[torch.Tensor]:
        """Standardised images (n,C,H,W) to logits (n,K), embeddings (n,D) or a list of maps."""
        if output in ("activations", "layers"):
            return self.activations(x, last=output == "layers")
        stages = self.stages(x)
        if output == "stages":
            return stages
        embedding = self.pool(stages[-1])
        return embedding if output == "embedding" else self.classifier(embedding)

    def logits(self, state: State, x: torch.Tensor) -> torch.Tensor:
        """Logits (n,K) of standardised images (n,C,H,W) under ``state``."""
        return functional_call(self, state, (x, "logits"), strict=True)  # type: ignore[no-any-return]

    def jvp(
        self, state: State, direction: State, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Logits and their derivative along a direction of the weights (Jacobian-vector product).

        Both have first derivatives of their own, so the gradient of ``<grad_w L, direction>`` needs
        no graph of second order.

        Args:
            state: of the network.
            direction: tangents of the weights by name; those that it lacks are 0.
            x: standardised images (n,C,H,W), whose tangents are 0.

        Returns:
            Two tensors (n,K), or none where this network, device or dtype has no operations for it.
        """
        return None

    def embed(self, state: State, x: torch.Tensor) -> torch.Tensor:
        """Embeddings (n,D), the classifier's input, of images as :meth:`logits` takes them."""
        return functional_call(self, state, (x, "embedding"), strict=True)  # type: ignore[no-any-return]

    def maps(self, state: State, x: torch.Tensor, *, last: bool = False) -> list[torch.Tensor]:
        """:meth:`activations` of images under ``state``."""
        output = "layers" if last else "activations"
        return functional_call(self, state, (x, output), strict=True)  # type: ignore[no-any-return]

    def parameter_names(self) -> set[str]:
        """The names in a state that are trained (the others are buffers)."""
        return {name for name, _ in self.named_parameters()}

    def parameter_count(self) -> int:
        """Trained numbers in all."""
        return sum(parameter.numel() for parameter in self.parameters())

    def initial(self, generator: torch.Generator) -> State:
        """A fresh state on the CPU, drawn from ``generator`` alone."""
        state: State = {}
        for prefix, module in self.named_modules():
            own = {
                f"{prefix}.{name}" if prefix else name: tensor
                for name, tensor in module.named_parameters(recurse=False)
            }
            for name, tensor in own.items():
                state[name] = self.draw(
                    module, name.rsplit(".", 1)[-1], torch.empty(tensor.shape), generator
                )
        for name, buffer in self.named_buffers():
            start = 1 if name.endswith("running_var") else 0
            state[name] = torch.full(buffer.shape, start, dtype=buffer.dtype)
        order = [*dict(self.named_parameters()), *dict(self.named_buffers())]
        return {name: state[name] for name in order}

    def draw(
        self, module: nn.Module, name: str, tensor: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Fill one parameter as PyTorch does by default.

        Weights are Kaiming-uniform with a=sqrt(5), biases uniform in +-1/sqrt(fan_in), which is the
        same interval; norms are 1 and 0.
        """
        if isinstance(module, nn.GroupNorm | nn.BatchNorm2d | nn.LayerNorm):
            return tensor.fill_(1.0 if name == "weight" else 0.0)
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        bound = 1 / math.sqrt(weight[0].numel())
        return tensor.uniform_(-bound, bound, generator=generator)


class Builder(Protocol):
    """Signature of what is registered under a network's name."""

    def __call__(
        self, config: NetworkConfig, channels: int, resolution: int, classes: int
    ) -> Network:
        """Build the skeleton for images (channels, side, side) and ``classes`` classes."""
        ...


NETWORKS: Registry[Builder] = Registry("network", "dance.networks")


def build(
    config: NetworkConfig, channels: int, resolution: int, classes: int, dataset: str = ""
) -> Network:
    """The skeleton that ``config`` describes, on the meta device.

    Args:
        config: which network.
        channels: C of the images, 1 or 3.
        resolution: H = W of the images in pixels.
        classes: K, number of logits.
        dataset: name of the data set, which decides the ResNet layout where the configuration does
            not.

    Raises:
        ConfigError: unknown name, or images too small for the network.
    """
    builder = NETWORKS.get(config.name)
    if config.layout is None:
        config = replace(config, layout="cifar" if dataset.startswith("cifar") else "imagenet")
    try:
        with torch.device("meta"):
            return builder(config, channels, resolution, classes)
    except _SingleValueError as error:
        raise ConfigError(
            f"{config.name} with {config.norm} norm needs maps larger than 1x1 to normalise, and "
            f"images of {resolution} pixels shrink to 1x1 in it; use --network.norm batch, another "
            "--network.name, or larger images (--size)"
        ) from error


class _SingleValueError(Exception):
    """A norm would see single numbers and give its shift, whatever the image."""


_GROUPS = 4
"""Groups of a group norm, as the field's ConvNet has them."""


def norm_layer(norm: str, channels: int, resolution: int, *, every: bool = False) -> nn.Module:
    """A norm with scale and shift; instance norm is a GroupNorm of one channel per group.

    Args:
        norm: its name.
        channels: of the maps.
        resolution: of the maps in pixels.
        every: whether the network may also have a layer norm or none, its convolutions a bias.

    Raises:
        ConfigError: no such norm, or none for these maps; :func:`build` says which network.
    """
    names = ("instance", "batch", "group", *(("layer", "none") if every else ()))
    if norm not in names:
        raise ConfigError(f"norm of this network must be one of {', '.join(names)}: got {norm!r}")
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "layer":
        return nn.LayerNorm([channels, resolution, resolution])
    groups = channels if norm == "instance" else _GROUPS
    if channels % groups:
        raise ConfigError(
            f"group norm needs a width that {_GROUPS} divides: got {channels}; change "
            "--network.width"
        )
    if channels // groups * resolution**2 <= 1:
        raise _SingleValueError
    return nn.GroupNorm(groups, channels)
