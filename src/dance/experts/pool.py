"""Experts on disk: trained once per (data, network, recipe, seed), shared by all runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from dance.core.checkpoints import Checkpoints, Tensors
from dance.core.device import policy
from dance.core.errors import ArtifactError
from dance.core.files import read_tensors, remove_leftovers, write_tensors
from dance.core.lock import locked
from dance.core.places import cache_dir
from dance.core.progress import log
from dance.core.rng import key, keyed_generator
from dance.core.work import resumable
from dance.core.world import World
from dance.data.imageset import ImageSet
from dance.data.whitening import EPSILON
from dance.experts.recipe import ExpertConfig
from dance.networks import Network, NetworkConfig, State
from dance.training import Trainer, TrainingData

_NOTES = "note."
_LATER = ("augmentation_mode", "milestones", "reset_momentum", "optimiser")
"""Settings that the first pools did not have: named only where they are not as they were then."""


_Begun = tuple[Tensors, dict[str, Any]]
"""A member of a :class:`~dance.training.Trainer` and a header, from a checkpoint."""


@dataclass(frozen=True, eq=False)
class Expert:
    """One expert.

    Attributes:
        index: its number in the pool.
        initial: weights before training, on the CPU.
        final: weights after the last epoch, on the CPU.
        header: what was trained and how it went (``train_accuracy``, ``seconds``, ``epochs``).
        path: its file.
        trained_now: whether this call trained it.
    """

    index: int
    initial: State
    final: State
    header: dict[str, Any]
    path: Path
    trained_now: bool


class ExpertPool:
    """The experts of one data set, network and recipe.

    Args:
        train: the real training set.
        network: skeleton.
        network_config: what the skeleton was built from.
        config: the recipe.
        seed: of initialisation, order and augmentation.
        bfloat16: arithmetic of the training.
        directory: where pools are kept (none: the cache directory).
        device: that is to train (none: that of the images).
        world: the processes that train them together, each some of them.

    Attributes:
        kind: of the files.
        stem: their names begin with it.
    """

    kind: ClassVar[str] = "expert"
    stem: ClassVar[str] = "expert"
    _partial: ClassVar[str] = "partial"
    """Names of unfinished ones begin with it."""
    _most: ClassVar[int | None] = None
    """Networks that are trained at once (none: as many as there are to train)."""

    def __init__(
        self,
        train: ImageSet,
        network: Network,
        network_config: NetworkConfig,
        config: ExpertConfig,
        seed: int,
        *,
        bfloat16: bool = False,
        directory: Path | None = None,
        device: torch.device | None = None,
        world: World | None = None,
    ) -> None:
        self._train, self._network, self._config = train, network, config
        self._device, self._world = device or train.images.device, world or World()
        self._seed, self._bfloat16 = seed, bfloat16
        usual = {name: getattr(ExpertConfig, name) for name in _LATER}
        recipe = {
            name: value
            for name, value in dataclasses.asdict(config).items()
            if name != "count" and not (name in usual and usual[name] == value)
        }
        self._identity = {
            "data": train.name,
            "data_fingerprint": train.fingerprint,
            "images": [len(train.labels), *train.images.shape[1:]],
            "network": network_config.identity(),
            "parameters": network.parameter_count(),
            "recipe": recipe,
            "seed": seed,
            "precision": "bfloat16" if bfloat16 else "float32",
            **({} if train.normalization.whitening is None else {"whitening": f"zca {EPSILON}"}),
            **self._more(),
        }
        text = json.dumps(self._identity, sort_keys=True)
        name = f"{_plain(train.name)}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self.directory = (directory or cache_dir() / "experts") / name

    def path(self, index: int) -> Path:
        """File of the expert with this number."""
        return self.directory / f"{self.stem}-{index:03d}.safetensors"

    def ensure(self, count: int) -> list[Expert]:
        """Experts 0 to count-1: read what is there and sound, train what is missing.

        Ctrl-C stops after the step that is being made; that and any other end costs what was
        trained since the last checkpoint. Of several processes each trains some of those that none
        of them has on its disk, and then all get all.

        Raises:
            ArtifactError: a file cannot be written, or an expert was begun by other code.
        """
        held = {
            index: expert for index in range(count) if (expert := self._read(index)) is not None
        }
        for expert in self._train_missing(held, count):
            held[expert.index] = expert
        return [self._share(index, held.get(index)) for index in range(count)]

    def _train_missing(self, held: Collection[int], count: int) -> Iterator[Expert]:
        """Train this process's part of what no process of this run has.

        What another run is training is waited for, not trained again.

        Args:
            held: numbers of those that are sound on this disk.
            count: of all.
        """
        world = self._world
        for index in held:  # a kill between the last write and their removal leaves them
            self._checkpoints(index).clear()
            remove_leftovers(self.directory, self.path(index).name)
        there = {index for disk in world.all_gather_object(list(held)) for index in disk}
        missing = [index for index in range(count) if index not in there]
        missing = [missing[turn] for turn in world.turns(len(missing))]
        together = policy(self._device).together(min(len(missing), self._most or len(missing)))
        for start in range(0, len(missing), together):
            indices = missing[start : start + together]
            with ExitStack() as stack:
                for index in indices:  # in one order everywhere: no two wait for each other
                    hidden = self.path(index).with_name(f".{self.path(index).stem}")
                    stack.enter_context(locked(hidden, f"training {self.stem} {index + 1}"))
                others = {index: self._read(index, quiet=True) for index in indices}
                yield from (expert for expert in others.values() if expert is not None)
                for group in self._groups([i for i in indices if others[i] is None]):
                    yield from self._train_group(group, count)

    def _share(self, index: int, mine: Expert | None) -> Expert:
        """One expert, from the first process that has it; rank 0's disk keeps it."""
        world = self._world
        if world.size == 1 and mine is not None:
            return mine
        source = world.all_gather_object(mine is not None).index(True)
        sent = world.broadcast_tensors(
            None if mine is None else _merged(mine.initial, mine.final), source
        )
        facts = [mine.header, mine.trained_now] if mine is not None else None
        header, trained_now = world.broadcast_object(facts, source)
        if world.is_rank_zero and mine is None and not self.path(index).exists():
            write_tensors(self.path(index), sent, header, self.kind)
        return Expert(index, *_split(sent), header, self.path(index), trained_now)

    def _checkpoints(self, index: int) -> Checkpoints:
        """Of one expert in training: whoever trains it later, beside which others, goes on."""
        return Checkpoints(self.directory, f"{self._partial}-{index:03d}", self._identity)

    def _more(self) -> dict[str, Any]:
        """What else tells this pool from others."""
        return {}

    def _note(self, notes: Tensors, state: State, epoch: int) -> None:
        """Keep what is wanted of a network after so many epochs in what its checkpoints hold."""

    def _content(
        self, initial: State, final: State, notes: Tensors
    ) -> tuple[Tensors, dict[str, Any]]:
        """Tensors of a finished file, and what its header has beside the rest."""
        return _merged(initial, final), {}

    def _groups(self, indices: list[int]) -> Iterator[dict[int, _Begun | None]]:
        """Those to train at once, which stand at the same step, with their checkpoints.

        Members of one group are saved one after another, so a kill leaves some a save ahead: the
        step that most of them have goes first.
        """
        begun: dict[int, dict[int, _Begun]] = {}
        for index in indices:
            checkpoints = self._checkpoints(index)
            found = {number: checkpoints.read(number) for number in checkpoints.numbers()}
            begun[index] = {number: held for number, held in found.items() if held is not None}
        while common := Counter(number for held in begun.values() for number in held):
            best = max(common, key=lambda number: (common[number], number))
            members = [index for index, held in begun.items() if best in held]
            yield {index: begun.pop(index)[best] for index in members}
        if begun:
            yield dict.fromkeys(begun)

    def _read(self, index: int, *, quiet: bool = False) -> Expert | None:
        """The stored expert, or none when it is missing or damaged (said unless ``quiet``)."""
        path = self.path(index)
        if not path.exists():
            return None
        try:
            tensors, header = read_tensors(path, self.kind)
        except ArtifactError as error:
            if not quiet:
                log(f"{error}; training expert {index} again")
            return None
        initial, final = _split(tensors)
        return Expert(index, initial, final, header, path, trained_now=False)

    def _train_group(self, begun: dict[int, _Begun | None], count: int) -> list[Expert]:
        """Train some experts at once, going on from their checkpoints when they have some."""
        config, device, indices = self._config, self._device, list(begun)
        seeds = [key(self._seed, "expert", index) for index in indices]
        initial = [self._network.initial(keyed_generator(seed, "weights")) for seed in seeds]
        train = self._train.to(device)
        fit = Trainer(
            self._network,
            [{name: tensor.to(device) for name, tensor in state.items()} for state in initial],
            TrainingData(train.images, train.labels, train.normalization),
            config,
            seeds,
            bfloat16=self._bfloat16,
        )
        names = f"{self.stem} {indices[0] + 1}" + (
            f"-{indices[-1] + 1}" if len(indices) > 1 else ""
        )
        spent = [0.0] * len(indices)
        accuracies: list[list[float]] = [[] for _ in indices]
        held = [checkpoint for checkpoint in begun.values() if checkpoint is not None]
        notes: list[Tensors] = [{} for _ in indices]
        if held:
            notes = [{n: t for n, t in tensors.items() if _noted(n)} for tensors, _ in held]
            fit.restore([tensors for tensors, _ in held])
            spent = [float(header["seconds"]) for _, header in held]
            accuracies = [list(header["accuracies"]) for _, header in held]
            log(f"resuming {names} after step {fit.steps_done()}")
        else:
            for member, state in enumerate(initial):
                self._note(notes[member], state, 0)
        checkpoints = [self._checkpoints(index) for index in indices]
        total = config.epochs * fit.steps_per_epoch()

        def seconds(member: int) -> float:
            return spent[member] + work.seconds() / len(indices)

        def save(_: Checkpoints) -> None:
            for member, snapshot in enumerate(fit.snapshot()):
                header = {"seconds": seconds(member), "accuracies": accuracies[member]}
                checkpoints[member].save(fit.steps_done(), snapshot | notes[member], header)

        def after_step() -> None:
            # Experts of a group are stored one after another: a kill in between must find the rest.
            last = fit.steps_done() == total and len(indices) > 1
            work.end_step(save, always_save=last)

        with resumable(
            f"{names} of {count}", total, "steps", checkpoints[0], start=fit.steps_done()
        ) as work:
            while fit.epoch < config.epochs:
                result = fit.train_epoch(after_step)
                for member, accuracy in enumerate(result.accuracy):
                    accuracies[member].append(accuracy)
                    self._note(notes[member], fit.state(member), fit.epoch)
                mean = sum(result.accuracy) / len(result.accuracy)
                work.bar.note = f"epoch {fit.epoch}, training accuracy {100 * mean:.1f} %"
            experts = []
            for member, index in enumerate(indices):
                final = {name: tensor.cpu() for name, tensor in fit.state(member).items()}
                content, about = self._content(initial[member], final, notes[member])
                header = {
                    **self._identity,
                    "index": index,
                    "epochs": config.epochs,
                    "train_accuracy": accuracies[member][-1] if accuracies[member] else None,
                    "train_accuracies": accuracies[member],
                    "seconds": seconds(member),
                    **about,
                }
                path = self.path(index)
                remove_leftovers(self.directory, path.name)
                write_tensors(path, content, header, self.kind)
                experts.append(
                    Expert(index, initial[member], final, header, path, trained_now=True)
                )
                checkpoints[member].clear()
        return experts


def note(name: str) -> str:
    """Name of a tensor that checkpoints hold beside a network."""
    return f"{_NOTES}{name}"


def _noted(name: str) -> bool:
    return name.startswith(_NOTES)


def _merged(initial: State, final: State) -> dict[str, torch.Tensor]:
    tensors = {f"initial.{name}": tensor for name, tensor in initial.items()}
    return tensors | {f"final.{name}": tensor for name, tensor in final.items()}


def _split(tensors: dict[str, torch.Tensor]) -> tuple[State, State]:
    states: tuple[State, State] = ({}, {})
    for name, tensor in tensors.items():
        part, _, own = name.partition(".")
        states[part == "final"][own] = tensor
    return states


def _plain(name: str) -> str:
    """A data set's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:40]
