"""Setting a run up: data, network, method and experts on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from dance.condensed import initial_pixels
from dance.core import device as devices
from dance.core import memory
from dance.core.world import join
from dance.data import ImageSet, load
from dance.engine.config import RunConfig
from dance.engine.memory import fitting, image_cost
from dance.engine.portable import need_images, opened
from dance.engine.rules import check
from dance.evaluation.evaluator import accuracy
from dance.experts import Expert, ExpertPool
from dance.experts.bank import Bank
from dance.experts.portable import Portable
from dance.methods import METHODS, Condenser, Method, Problem
from dance.networks import Network, NetworkConfig, build
from dance.training import TrainingData
from dance.training.fit import predict

_CPU_IMAGES = 64
"""Synthetic images that are forwarded together on a CPU: what fits its caches is fastest."""
_STATE = 3
"""Tensors of the size of the canvases that a step holds: they, their momentum and a gradient."""
_SHARE = 0.9
"""Part of the memory that is free that condensing may take; the rest is for the allocator."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What a run works with.

    Attributes:
        config: of the run.
        device: where it runs.
        train: real training images, on the device.
        network: skeleton of the matching network.
        method: with its settings.
        portable: experts and bank where the data is a file of them, and ``train`` without images.
    """

    config: RunConfig
    device: torch.device
    train: ImageSet
    network: Network
    method: Method
    portable: Portable | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether networks compute in bfloat16."""
        return self.config.precision == "bfloat16"

    @property
    def train_images(self) -> int:
        """Real images that the run is of, here or where its bank was made."""
        return len(self.train.labels) if self.portable is None else sum(self.portable.counts)

    def pool(self) -> ExpertPool | Portable:
        """The experts of this data set, network and recipe."""
        return self.portable or self._trained()

    def missing_experts(self) -> int:
        """How many of the experts are still to be trained."""
        pool = self._trained()
        return sum(not pool.path(index).exists() for index in range(self.config.experts.count))

    def bank(self) -> Bank:
        """The bank of these experts for the method's settings."""
        assert isinstance(self.method, Condenser)
        pool = self._trained()
        identity = {
            "pool": pool.directory.name,
            "experts": self.config.experts.count,
            "method": self.config.method,
            "settings": self.method.bank_settings(),
        }
        return Bank(pool.directory, identity, join())

    def with_bank(self, problem: Problem) -> Problem:
        """The problem with the bank that the method asks for, made where it is missing.

        Raises:
            ArtifactError: the bank cannot be written.
        """
        method = self.method
        count = method.bank_draws() if isinstance(method, Condenser) else 0
        if not count:
            return problem
        own = problem.classes
        if self.portable is not None:
            means = self.portable.means[:count, own.start : own.stop]
        else:
            assert isinstance(method, Condenser)
            means = self.bank().ensure(count, partial(method.bank_entry, problem), own)
        return replace(problem, bank=means.to(problem.device))

    def _trained(self) -> ExpertPool:
        return ExpertPool(
            self.train,
            self.network,
            self.config.network,
            self.config.experts,
            self.config.seed,
            bfloat16=self.bfloat16,
        )

    def initial(self) -> torch.Tensor:
        """First canvases (K*ipc,C,S,S) on the CPU.

        Raises:
            ConfigError: ipc or factor do not fit the data.
        """
        config = self.config
        return initial_pixels(
            self.train.to("cpu"), config.ipc, config.factor, config.init, config.seed
        )

    def problem(self, initial: torch.Tensor, experts: list[Expert]) -> Problem:
        """What the method may see."""
        config = self.config
        states = tuple(
            tuple({name: t.to(self.device) for name, t in state.items()} for state in pair)
            for pair in ((expert.initial, expert.final) for expert in experts)
        )
        return Problem(
            train=self.train,
            initial=initial.to(self.device),
            ipc=config.ipc,
            factor=config.factor,
            network=self.network.eval(),
            experts=states,  # type: ignore[arg-type]  # pairs, as made above
            seed=config.seed,
            chunk=self.chunk(self.train.num_classes),
            bfloat16=self.bfloat16,
        )

    def chunk(self, classes: int) -> int:
        """Of ``classes`` how many go through one forward: what cache (CPU) and memory hold.

        Raises:
            ConfigError: not even one class fits into the memory.
        """
        config, method, device = self.config, self.method, self.device
        if config.chunk is not None or not isinstance(method, Condenser):
            return config.chunk or classes
        images = method.synthetic_images(config.ipc, config.factor)
        channels, side = self.train.channels, self.train.side
        each = image_cost(self.network, channels, side, device, bfloat16=self.bfloat16)
        held = memory.held(device)
        free = int(memory.free(device) * _SHARE)
        limit = held + free if config.memory_limit is None else memory.in_bytes(config.memory_limit)
        numbers = _STATE * config.ipc * channels * side**2 + 2 * self.network.embedding_size
        state = 4 * classes * numbers
        beside = held + state + method.real_images(device, side) * each.forward
        fits = fitting(limit, beside, images * each.gradient, classes)
        if device.type == "cpu":
            fits = min(fits, math.ceil(_CPU_IMAGES / images))
        return max(1, fits)


def stage(config: RunConfig) -> Stage:
    """Load the data and build the network and the method.

    Raises:
        DanceError: the data cannot be used, or a setting does not fit it.
    """
    check(config)
    device = devices.select(config.device)
    portable = opened(config)
    train = load(config.data, "train", config.source) if portable is None else portable.train
    network = network_for(config.network, train)
    method = METHODS.get(config.method)(config.options)
    return Stage(config, device, train.to(device), network, method, portable)


def network_for(config: NetworkConfig, images: ImageSet) -> Network:
    """The skeleton for these images."""
    return build(config, images.channels, images.side, images.num_classes, images.name)


def named_network(name: str, own: NetworkConfig) -> NetworkConfig:
    """The network called ``name``: the run's own, or another architecture with batch norm.

    Batch norm is what the cross-architecture tables of the field use (DANCE, Table 3).
    """
    if name == own.name:
        return own
    return NetworkConfig(name=name, norm="instance" if name == "convnet" else "batch")


def experts(config: RunConfig) -> list[dict[str, Any]]:
    """Train the experts of a configuration that are missing.

    Returns:
        For each expert ``index``, ``train_accuracy`` (while training, with augmentation and
        CutMix), ``test_accuracy``, ``epochs``, ``seconds``, ``path``, ``trained_now``; accuracies
        are fractions.

    Raises:
        DanceError: the data cannot be used, or a setting does not fit it.
    """
    need_images(config.data, "training experts")
    setting = stage(config)
    found = setting.pool().ensure(config.experts.count)
    return describe(setting, found)


def describe(setting: Stage, found: list[Expert]) -> list[dict[str, Any]]:
    """Experts as a table shows them; their test accuracy is taken here, never before."""
    test = load(setting.config.data, "test", setting.config.source).to(setting.device)
    testing = TrainingData(test.images, test.labels, test.mean, test.std)
    rows = []
    for expert in found:
        state = {name: tensor.to(setting.device) for name, tensor in expert.final.items()}
        predicted = predict(setting.network, state, testing, bfloat16=setting.bfloat16)
        rows.append(
            {
                "index": expert.index,
                "train_accuracy": expert.header["train_accuracy"],
                "test_accuracy": accuracy(predicted, test.labels),
                "epochs": expert.header["epochs"],
                "seconds": expert.header["seconds"],
                "path": str(expert.path),
                "trained_now": expert.trained_now,
            }
        )
    return rows
