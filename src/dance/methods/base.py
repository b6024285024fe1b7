"""What a method is.

A *condenser* optimises stored images: ``setup`` makes its state, ``step`` is one iteration of its
algorithm box. A *coreset* selects real images. Both are found by the registry; the engine, the
command line and the tests know none by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from dance.condensed.container import Space
from dance.condensed.decoders import Decoder
from dance.core.errors import ConfigError
from dance.core.registry import Registry
from dance.data.imageset import ImageSet
from dance.experts.trajectories import Trajectories
from dance.networks import Network, State

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class CondensationTask:
    """All that a method may see. There is no test image in it, nor a way to one.

    Attributes:
        train: the real training set, on the device.
        initial: (k*ipc,C,S,S) float32 first stored images in the method's space, class-major, on
            the device.
        ipc: stored images per class.
        decoder: from stored images to those that networks see.
        network: skeleton of the matching network, in evaluation mode.
        experts: (initial, final) states by expert, on the device; empty where none is needed.
        seed: of the run, first argument of every keyed draw.
        chunk: classes that go through one forward.
        bfloat16: run the networks' arithmetic in bfloat16.
        bank: (N,k,D) float32 mean real features of the own classes, one entry after the other, on
            the device; None where the method asks for none (:meth:`Condenser.bank_draws`).
        classes: the k classes that this process owns; None: all K. ``initial`` and ``bank`` hold
            their rows only, ``train`` needs no images of others; labels and random draws are those
            of all K.
        trajectories: networks at every epoch of their training; None where the method asks for
            none (:meth:`Method.trajectory_epochs`).
    """

    train: ImageSet
    initial: torch.Tensor
    ipc: int
    decoder: Decoder
    network: Network
    experts: tuple[tuple[State, State], ...]
    seed: int
    chunk: int
    bfloat16: bool = False
    bank: torch.Tensor | None = None
    classes: range = None  # type: ignore[assignment]  # a range once made
    trajectories: Trajectories | None = None

    def __post_init__(self) -> None:
        """Own all classes unless told otherwise."""
        if self.classes is None:
            object.__setattr__(self, "classes", range(self.train.num_classes))

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.initial.device


class Method(ABC):
    """Base of all methods: an immutable configuration and what it says about itself.

    Attributes:
        title: the name as tables print it.
        paper: the source.
        Config: dataclass of the settings, the only home of their defaults.
        year: of the source; None where there is no one source.
        whitens: whether it works on whitened images: it takes no real ones into its own hands.
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    Config: ClassVar[type]
    year: ClassVar[int | None] = None
    whitens: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config = config

    def needs_experts(self) -> bool:
        """Whether trained experts must be in the task."""
        return False

    def trajectory_epochs(self) -> int:
        """Epochs of trajectories that must be in the task; 0 where none are needed."""
        return 0


class Condenser(Method):
    """A method that optimises stored images.

    Attributes:
        shared: names of state tensors that are the same for every process; all others hold rows of
            the own classes, class-major.
        whole: whether one process must condense all classes, since they do not come apart (one
            network trained on all synthetic images, batch norm); the others then wait.
        space: of the stored images: ``unit`` is [0,1], ``normalized`` is network input.
        divergence_hint: the setting to lower when the numbers stop being finite.
    """

    shared: ClassVar[frozenset[str]] = frozenset()
    whole: ClassVar[bool] = False
    space: ClassVar[Space] = "unit"
    divergence_hint: ClassVar[str] = "learning_rate"

    def couples(self, network: Network) -> bool:
        """Whether classes do not come apart with this network: :attr:`whole`, or batch norm."""
        return self.whole

    @property
    @abstractmethod
    def iterations(self) -> int:
        """Steps in all."""

    def synthetic_images(self, ipc: int, factor: int) -> int:
        """Images of one class that go through one forward with gradients."""
        return ipc * factor**2

    def real_images(self, device: torch.device, resolution: int) -> int:
        """Most images of ``resolution`` pixels that go through one forward without gradients."""
        return 0

    def networks_held(self) -> int:
        """Vectors of a network's weights that lie in memory whatever the chunk."""
        return 0

    def bank_draws(self) -> int:
        """Entries of the bank that the method asks for, N of ``CondensationTask.bank``; or 0."""
        return 0

    def bank_settings(self) -> dict[str, Any]:
        """The settings that decide an entry of the bank, as plain data."""
        return {}

    def bank_entry(self, task: CondensationTask, number: int) -> torch.Tensor:
        """One entry (k,D) of the bank: mean real features of the own classes.

        A function of the experts, :meth:`bank_settings`, the seed and its number alone: not of
        ``ipc``, ``factor`` or ``chunk``.
        """
        raise NotImplementedError(f"{self.title} asks for a bank and does not say how to make one")

    @abstractmethod
    def setup(self, task: CondensationTask) -> Tensors:
        """The state before the first step, all of it checkpointed.

        ``pixels`` are the stored images; ``learning_rate``, where there, is a learned one of
        networks that are to be trained on them, and is stored with them.
        """

    @abstractmethod
    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One iteration, from 0, changing ``state`` in place.

        Returns:
            Losses on the device: the sum over the own classes divided by the number of all, so that
            the sum over processes is the mean over classes.
        """


class Coreset(Method):
    """A method that selects real images."""

    def rows(self, task: CondensationTask, label: int) -> torch.Tensor:
        """Rows (n,) int64 of a class on the CPU, in dataset order, to select from.

        Raises:
            ConfigError: it has fewer than ipc images.
        """
        rows = task.train.rows(label).cpu()
        if len(rows) < task.ipc:
            raise ConfigError(
                f"images per class must not exceed the size of any class: got {task.ipc}, "
                f"and class {task.train.classes[label]!r} has {len(rows)}; use a smaller --ipc"
            )
        return rows

    @abstractmethod
    def select(self, task: CondensationTask) -> torch.Tensor:
        """Rows (k*ipc,) int64 of the training set, of the own classes, class-major."""


METHODS: Registry[type[Method]] = Registry("method", "dance.methods")
