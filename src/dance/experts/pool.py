"""Experts on disk: trained once per (data, network, recipe, seed), shared by all runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dance.core.errors import ArtifactError
from dance.core.places import cache_dir
from dance.core.progress import log, track
from dance.core.rng import generator, key
from dance.core.storage import read_tensors, write_tensors
from dance.data.imageset import ImageSet
from dance.experts.recipe import ExpertConfig
from dance.networks import Network, NetworkConfig, State
from dance.training import Fit, TrainingData

_KIND, _PARTIAL = "expert", "expert in training"
_SAVE_SECONDS = 60.0
"""Least time between two checkpoints of an expert in training."""


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
        train: the real training set, on the device that is to train.
        network: skeleton.
        network_config: what the skeleton was built from.
        config: the recipe.
        seed: of initialisation, order and augmentation.
        bfloat16: arithmetic of the training.
        directory: where pools are kept (none: the cache directory).
    """

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
    ) -> None:
        self._train, self._network, self._config = train, network, config
        self._seed, self._bfloat16 = seed, bfloat16
        recipe = {
            name: value for name, value in dataclasses.asdict(config).items() if name != "count"
        }
        self._identity = {
            "data": train.name,
            "data_fingerprint": train.fingerprint,
            "images": [len(train.labels), *train.images.shape[1:]],
            "network": dataclasses.asdict(network_config),
            "parameters": network.parameter_count(),
            "recipe": recipe,
            "seed": seed,
            "precision": "bfloat16" if bfloat16 else "float32",
        }
        text = json.dumps(self._identity, sort_keys=True)
        name = f"{_plain(train.name)}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self.directory = (directory or cache_dir() / "experts") / name

    def path(self, index: int) -> Path:
        """File of the expert with this number."""
        return self.directory / f"expert-{index:03d}.safetensors"

    def ensure(self, count: int) -> list[Expert]:
        """Experts 0 to count-1: read what is there and sound, train what is missing.

        Raises:
            ArtifactError: a file cannot be written.
        """
        held = {
            index: expert for index in range(count) if (expert := self._read(index)) is not None
        }
        missing = [index for index in range(count) if index not in held]
        together = len(missing) if self._train.images.is_cuda else 1
        for start in range(0, len(missing), max(1, together)):
            for expert in self._train_group(missing[start : start + together], count):
                held[expert.index] = expert
        return [held[index] for index in range(count)]

    def _read(self, index: int) -> Expert | None:
        """The stored expert, or none when it is missing or damaged (which is said)."""
        path = self.path(index)
        if not path.exists():
            return None
        try:
            tensors, header = read_tensors(path, _KIND)
        except ArtifactError as error:
            log(f"{error}; training expert {index} again")
            return None
        initial, final = _split(tensors)
        return Expert(index, initial, final, header, path, trained_now=False)

    def _train_group(self, indices: list[int], count: int) -> list[Expert]:
        """Train some experts at once, going on from a checkpoint when there is one."""
        config, device = self._config, self._train.images.device
        seeds = [key(self._seed, "expert", index) for index in indices]
        initial = [self._network.initial(generator(seed, "weights")) for seed in seeds]
        train = self._train
        fit = Fit(
            self._network,
            [{name: tensor.to(device) for name, tensor in state.items()} for state in initial],
            TrainingData(train.images, train.labels, train.mean, train.std),
            config,
            seeds,
            bfloat16=self._bfloat16,
        )
        partial = (
            self.directory / f"partial-{'-'.join(f'{index:03d}' for index in indices)}.safetensors"
        )
        seconds, accuracies = self._resume(fit, partial)
        names = f"expert {indices[0] + 1}" + (f"-{indices[-1] + 1}" if len(indices) > 1 else "")
        started = saved = time.monotonic()
        steps = fit.steps_per_epoch()
        total, done = config.epochs * steps, fit.epoch * steps
        with track(f"{names} of {count}", total, "steps", start=done) as task:
            while fit.epoch < config.epochs:
                result = fit.train_epoch(task.advance)
                accuracies.append(result.accuracy)
                mean = sum(result.accuracy) / len(result.accuracy)
                task.note = f"epoch {fit.epoch}, training accuracy {100 * mean:.1f} %"
                if time.monotonic() - saved > _SAVE_SECONDS and fit.epoch < config.epochs:
                    saved = time.monotonic()
                    spent = seconds + saved - started
                    header = {**self._identity, "seconds": spent, "accuracies": accuracies}
                    write_tensors(partial, fit.snapshot(), header, _PARTIAL)
        seconds += time.monotonic() - started
        experts = []
        for member, index in enumerate(indices):
            header = {
                **self._identity,
                "index": index,
                "epochs": config.epochs,
                "train_accuracy": accuracies[-1][member] if accuracies else None,
                "train_accuracies": [epoch[member] for epoch in accuracies],
                "seconds": seconds / len(indices),
            }
            final = {name: tensor.cpu() for name, tensor in fit.state(member).items()}
            tensors = {f"initial.{name}": tensor for name, tensor in initial[member].items()}
            tensors |= {f"final.{name}": tensor for name, tensor in final.items()}
            write_tensors(self.path(index), tensors, header, _KIND)
            experts.append(
                Expert(index, initial[member], final, header, self.path(index), trained_now=True)
            )
        partial.unlink(missing_ok=True)
        return experts

    def _resume(self, fit: Fit, partial: Path) -> tuple[float, list[list[float]]]:
        """Restore a sound checkpoint; returns seconds spent and accuracies so far."""
        if not partial.exists():
            return 0.0, []
        try:
            snapshot, header = read_tensors(partial, _PARTIAL)
        except ArtifactError as error:
            log(f"{error}; starting the experts in it anew")
            return 0.0, []
        fit.restore(snapshot)
        log(f"going on with {partial.stem.replace('partial', 'expert')} after epoch {fit.epoch}")
        return float(header["seconds"]), list(header["accuracies"])


def _split(tensors: dict[str, torch.Tensor]) -> tuple[State, State]:
    states: tuple[State, State] = ({}, {})
    for name, tensor in tensors.items():
        part, _, own = name.partition(".")
        states[part == "final"][own] = tensor
    return states


def _plain(name: str) -> str:
    """A data set's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:40]
