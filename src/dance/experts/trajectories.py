"""Trajectories: the weights of networks after every epoch of their training on the real set.

One file holds the E+1 flat snapshots of one network, number 0 before training, E*P*4 bytes; a
snapshot is read when it is asked for, without the rest of the file, so that memory holds two of
them however many there are on disk. Like experts they are trained once for all runs that need the
same ones, go on from checkpoints, and are shared over processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch

from dance.augment import Strategy
from dance.core.checkpoints import Tensors
from dance.core.config import AtLeastOne, Count, Momentum, NonNegative, Probability, configuration
from dance.core.errors import MissingExpertsError
from dance.core.files import digest_of, read_header, read_part, read_tensors, write_tensors
from dance.core.progress import log
from dance.core.rng import keyed_generator
from dance.experts.pool import Expert, ExpertPool, note
from dance.experts.recipe import ExpertConfig
from dance.networks import Network, State
from dance.training.trainer import Milestone

_TOGETHER = 10
"""Networks that a GPU trains at once, each with snapshots of all its epochs in memory."""


@configuration
class TrajectoryConfig(ExpertConfig):
    """Training of networks whose every epoch is kept (released commands of MTT)."""

    count: Count = 100
    """Number of networks whose trajectories are kept and drawn from."""
    epochs: AtLeastOne = 50
    """Passes over the real training set, each with a snapshot; a method needs no more than it
    reads."""
    batch_size: AtLeastOne = 256
    """Images per step; the last, smaller batch of a pass is kept."""
    momentum: Momentum = 0.0
    """Momentum of SGD; trajectories without it are easier to imitate."""
    weight_decay: NonNegative = 0.0
    augmentation: Strategy = "color_crop_cutout_flip_scale_rotate"
    cutmix: Probability = 0.0
    augmentation_mode: Literal["chain", "single", "none"] = "single"
    milestones: tuple[Milestone, ...] = ()


class Trajectories(Protocol):
    """Snapshots of several networks."""

    @property
    def epochs(self) -> int:
        """E: snapshots 0 to E are there of every network."""
        ...

    def __len__(self) -> int:
        """Networks in all."""
        ...

    def weights(self, number: int, epoch: int) -> torch.Tensor:
        """Parameters (P,) float32 on the CPU of one network after so many epochs."""
        ...


@dataclass(frozen=True, eq=False)
class HeldTrajectories:
    """Trajectories in memory.

    Attributes:
        snapshots: (networks, E+1, P).
    """

    snapshots: torch.Tensor

    @property
    def epochs(self) -> int:
        """E."""
        return self.snapshots.shape[1] - 1

    def __len__(self) -> int:
        """Networks in all."""
        return len(self.snapshots)

    def weights(self, number: int, epoch: int) -> torch.Tensor:
        """One snapshot (P,)."""
        return self.snapshots[number, epoch]


def untrained(network: Network, epochs: int) -> HeldTrajectories:
    """Fresh weights at every epoch of one network: to measure with, since they cost the same."""
    fresh = (network.initial(keyed_generator(0, "untrained", epoch)) for epoch in range(epochs + 1))
    return HeldTrajectories(torch.stack([flatten(network, state) for state in fresh])[None])


class StoredTrajectories:
    """Trajectories on disk.

    Args:
        files: each with its header.
        epochs: E.
    """

    def __init__(self, files: Mapping[Path, Mapping[str, Any]], epochs: int) -> None:
        self._files = [(path, list(header["digests"])) for path, header in files.items()]
        self._seconds = sum(float(header["seconds"]) for header in files.values())
        self._epochs = epochs

    @property
    def epochs(self) -> int:
        """E."""
        return self._epochs

    @property
    def seconds(self) -> float:
        """What it took to train them."""
        return self._seconds

    def __len__(self) -> int:
        """Networks in all."""
        return len(self._files)

    def weights(self, number: int, epoch: int) -> torch.Tensor:
        """One snapshot (P,), read from its file and checked.

        Raises:
            ArtifactError: it is no longer there, or damaged.
        """
        path, digests = self._files[number]
        return read_part(path, TrajectoryPool.kind, _name(epoch), digests[epoch])


def long_enough(
    held: Trajectories | None, epochs: int, who: str, divergence_hint: str
) -> Trajectories:
    """The trajectories of a task, where they reach far enough.

    Args:
        held: of the task.
        epochs: that they must have.
        who: the method, for the message.
        divergence_hint: its setting that asks for fewer.

    Raises:
        MissingExpertsError: there are none, or they are too short.
    """
    if held is None or not len(held) or held.epochs < epochs:
        there = "none" if held is None else f"{len(held)} of {held.epochs} epochs"
        raise MissingExpertsError(
            f"{who} with these settings needs trajectories of at least {epochs} epochs: got "
            f"{there}; raise trajectories.epochs or lower options.{divergence_hint}"
        )
    return held


class TrajectoryPool(ExpertPool):
    """The trajectories of one data set, network and recipe; arguments as an expert pool has them.

    The order of the recipe's draws is that of experts, so a trajectory of 60 epochs begins as one
    of 50; they are told apart all the same, as experts are.
    """

    kind: ClassVar[str] = "trajectory"
    stem: ClassVar[str] = "trajectory"
    _partial: ClassVar[str] = "partial-trajectory"
    _most: ClassVar[int | None] = _TOGETHER

    def trajectories(self, count: int) -> StoredTrajectories:
        """Trajectories 0 to count-1: find what is there and sound, train what is missing.

        Ends like :meth:`ExpertPool.ensure` when it is interrupted. Of several processes each
        trains some of them, and rank 0's disk gets all: it alone is sure to have them.

        Raises:
            ArtifactError: a file cannot be written, or a trajectory was begun by other code.
        """
        held = [index for index in range(count) if self._header(index) is not None]
        for _ in self._train_missing(held, count):
            pass  # they stay on the disk
        for index in range(count):
            self._collect(index)
        found = {self.path(index): self._header(index) for index in range(count)}
        sound = {path: header for path, header in found.items() if header is not None}
        return StoredTrajectories(sound, self._config.epochs)

    def missing(self, count: int) -> int:
        """How many of so many are still to be trained."""
        return sum(self._header(index, quiet=True) is None for index in range(count))

    def _collect(self, index: int) -> None:
        """Bring one trajectory to rank 0's disk, if it lies on another's only."""
        world = self._world
        if world.size == 1:
            return
        there = world.all_gather_object(self._header(index, quiet=True) is not None)
        if there[0]:
            return
        source = there.index(True)
        tensors, header = (
            read_tensors(self.path(index), self.kind) if there[world.rank] else ({}, {})
        )
        sent, header = (
            world.broadcast_tensors(tensors, source),
            world.broadcast_object(header, source),
        )
        if world.is_rank_zero:
            write_tensors(self.path(index), sent, header, self.kind)

    def _header(self, index: int, *, quiet: bool = False) -> dict[str, Any] | None:
        """What a stored trajectory says of itself; none when it is missing or cut short.

        Its snapshots are checked when they are read.
        """
        path = self.path(index)
        header = read_header(path, self.kind)
        if isinstance(header, dict) and len(header.get("digests", ())) == self._config.epochs + 1:
            return header
        if path.exists() and not quiet:
            log(f"{path} is damaged or no {self.kind} file; training trajectory {index} again")
        return None

    def _read(self, index: int, *, quiet: bool = False) -> Expert | None:
        """What is stored, without its weights."""
        header = self._header(index, quiet=quiet)
        if header is None:
            return None
        return Expert(index, {}, {}, header, self.path(index), trained_now=False)

    def _more(self) -> dict[str, Any]:
        """In which order the parameters lie in a snapshot."""
        return {"layout": [[name, list(p.shape)] for name, p in self._network.named_parameters()]}

    def _note(self, notes: Tensors, state: State, epoch: int) -> None:
        notes[note(_name(epoch))] = flatten(self._network, state).cpu()

    def _content(
        self, initial: State, final: State, notes: Tensors
    ) -> tuple[Tensors, dict[str, Any]]:
        names = [_name(epoch) for epoch in range(len(notes))]
        content = {name: notes[note(name)] for name in names}
        return content, {"digests": [digest_of(tensor) for tensor in content.values()]}


def flatten(network: Network, state: State) -> torch.Tensor:
    """Parameters of a state end to end, (P,), in the skeleton's order; buffers are left out."""
    return torch.cat([state[name].flatten() for name, _ in network.named_parameters()])


def unflatten(network: Network, weights: torch.Tensor) -> State:
    """Views of flat parameters (P,) by name; undoes :func:`flatten`."""
    layout = dict(network.named_parameters())
    parts = weights.split([p.numel() for p in layout.values()])
    return {name: part.view(p.shape) for (name, p), part in zip(layout.items(), parts, strict=True)}


def _name(epoch: int) -> str:
    return f"epoch-{epoch:03d}"
