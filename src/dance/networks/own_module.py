"""The user's own ``nn.Module`` as a network on which condensed sets are scored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from dance.core.errors import ConfigError
from dance.core.registry import is_interactive
from dance.core.rng import key
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
            with torch.no_grad(), _seeded(0), torch.device("cpu"):
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
        with _seeded(0), torch.device("cpu"):
            self.module = make()

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
        with _seeded(seed), torch.device("cpu"):
            module = self._make()
        weights = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return {f"module.{name}": tensor.detach().clone() for name, tensor in weights.items()}

    def parameter_names(self) -> set[str]:
        """The names of the parameters that are not frozen."""
        return {name for name, tensor in self.named_parameters() if tensor.requires_grad}

    def seeded(self, seed: int, step: int) -> AbstractContextManager[None]:
        """A context that seeds PyTorch's global generator, and restores it afterwards."""
        return _seeded(key(seed, "own module", step))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generator, and restore it afterwards."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield
