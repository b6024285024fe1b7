"""The user's own ``nn.Module`` as a network on which condensed sets are scored."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from dance.core.code import outside_digest
from dance.core.config import digest
from dance.core.errors import ConfigError
from dance.core.registry import is_interactive
from dance.networks.global_seed import global_seed
from dance.networks.protocol import NETWORKS, Network, NetworkConfig, State

Maker = Callable[..., nn.Module]


def register_maker(make: Maker) -> str:
    """Make a callable known as a network; its name is that of its module and its own.

    Args:
        make: returns a new module that maps network input (n,C,H,W) to logits (n,K); called with
            those of ``channels``, ``resolution`` and ``classes`` that it has parameters for.

    Returns:
        The name, such as ``my_package.models.SmallNet``. In a notebook, one that is defined again
        takes the place of the one before.

    Raises:
        ConfigError: it is not callable, or another one has this name.
    """
    if not callable(make) or isinstance(make, nn.Module):
        raise ConfigError(
            "a network must be a name (dance list networks) or a callable that makes a new "
            f"nn.Module each time: got {make!r:.80}"
        )
    kind = make if hasattr(make, "__qualname__") else type(make)
    name = f"{kind.__module__}.{kind.__qualname__}"
    known = NETWORKS.find(name)
    if isinstance(known, _Builder) and (known.make is make or is_interactive(make)):
        known.make = make
    elif known is not None:
        raise ConfigError(
            f"networks must have different names, since scores are stored under them: another one "
            f"called {name} was used before in this program; give it a name of its own, such as "
            "that of a function"
        )
    else:
        NETWORKS.register(name)(_Builder(make, name))
    return name


def network_code(name: str, network: Network) -> str | None:
    """A digest that changes with a network from outside of this package.

    Args:
        name: of the network.
        network: its skeleton.

    Returns:
        16 hex digits for the source of its function and classes
        (:func:`~dance.core.code.outside_digest`), its layers and the names and shapes of its
        parameters; None for a network of this package.
    """
    make: Any = NETWORKS.get(name)
    own = isinstance(make, _Builder)
    if own:
        make = make.make
    kinds: set[Any] = {type(module) for module in network.modules()}
    owners = [make, *(kind for kind in kinds if not kind.__module__.startswith("torch."))]
    sources = sorted({source for owner in owners if (source := outside_digest(owner))})
    if not own and not sources:
        return None
    layers = re.sub(r" at 0x[0-9a-f]+", "", str(network))  # an address, as functions show it
    shapes = {parameter: list(tensor.shape) for parameter, tensor in network.named_parameters()}
    return digest([sources, layers, shapes])


class _Builder:
    """Builds the networks of one callable."""

    def __init__(self, make: Maker, name: str) -> None:
        self.make, self._name = make, name
        self.__doc__ = f"{name}, from Python."

    def __call__(
        self, config: NetworkConfig, channels: int, resolution: int, classes: int
    ) -> Network:
        """Build the network for images (channels,resolution,resolution) of ``classes`` classes."""
        size = {"channels": channels, "resolution": resolution, "classes": classes}
        signature = inspect.signature(self.make)
        parameters = signature.parameters.values()
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        names = {parameter.name for parameter in parameters}
        known = {name: value for name, value in size.items() if takes_all or name in names}
        try:
            signature.bind(**known)
        except TypeError as error:
            raise ConfigError(
                f"{self._name} must be callable with channels, resolution and classes, or with "
                f"those of them that it has parameters for: {error}"
            ) from error

        def make() -> nn.Module:
            module = self.make(**known)
            if not isinstance(module, nn.Module):
                raise ConfigError(f"{self._name} must return an nn.Module: got {module!r:.80}")
            return module

        network = OwnModule(make)
        images = torch.zeros(2, channels, resolution, resolution, device="cpu")
        self._check(network, images, classes)
        return network

    def _check(self, network: OwnModule, images: torch.Tensor, classes: int) -> None:
        """Refuse a module that does not give one logit for each class.

        Raises:
            ConfigError: it fails on two images, or returns something else.
        """
        try:
            with torch.no_grad(), global_seed(0), torch.device("cpu"):
                logits = network.eval()(images)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{self._name} must map images {tuple(images.shape)} to logits: {error}"
            ) from error
        shape = getattr(logits, "shape", type(logits).__name__)
        if shape != (len(images), classes):
            raise ConfigError(
                f"{self._name} must map images {tuple(images.shape)} to logits "
                f"{(len(images), classes)}: got {tuple(shape) if type(shape) is not str else shape}"
            )


class OwnModule(Network):
    """A module whose inside is unknown: it has logits only, and is trained by itself.

    Its own random numbers (initialisation, dropout) come from PyTorch's global generator, which is
    seeded for each of these calls and restored afterwards.
    """

    one_at_a_time = True

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self._make = make
        with global_seed(0), torch.device("cpu"):
            self.module = make()
        if any(map(is_lazy, self.module.parameters())):
            raise ConfigError(
                "the layers of a network must be given their sizes: got some that infer them from "
                "the first images, such as nn.LazyLinear; use nn.Linear and its kind"
            )

    def forward(self, x: torch.Tensor, output: Any = "logits") -> torch.Tensor:
        """Map network input (n,C,H,W) to logits (n,K).

        Raises:
            ConfigError: something else than logits is requested.
        """
        if output != "logits":
            raise ConfigError(
                "networks of your own are for scoring: experts and matching need one of "
                "dance list networks"
            )
        logits: torch.Tensor = self.module(x)
        return logits

    def initial(self, generator: torch.Generator) -> State:
        """The weights of a new module, with random numbers that follow from ``generator``."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with global_seed(seed), torch.device("cpu"):
            module = self._make()
        weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return {f"module.{name}": tensor.detach().clone() for name, tensor in weights.items()}

    def parameter_names(self) -> set[str]:
        """The names of the parameters that are not frozen."""
        return {name for name, tensor in self.named_parameters() if tensor.requires_grad}

    def parameter_count(self) -> int:
        """Number of scalars that are trained; frozen ones are not."""
        trained = self.parameter_names()
        return sum(t.numel() for name, t in self.named_parameters() if name in trained)
