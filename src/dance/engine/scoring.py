"""Scores of a run and of a stored set; test images are loaded here, after the set is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dance.condensed import CondensedSet, load_set
from dance.core.checkpoint import Checkpoints
from dance.core.config import build, digest, to_plain
from dance.core.errors import ArtifactError, ConfigError
from dance.core.progress import log
from dance.core.storage import checksum, write_json
from dance.core.world import World, join
from dance.data import DataConfig, ImageSet, load
from dance.engine.package import package
from dance.engine.portable import need_images
from dance.engine.rundir import RunDirectory
from dance.engine.stage import Stage, named_network, network_for, own_device
from dance.evaluation import EvaluationConfig, Score, score_set, score_states
from dance.methods import METHODS, Condenser, Coreset
from dance.networks import NETWORKS, NetworkConfig

_RANDOM = "random"
_MEASURED = ("seconds", "peak_memory_bytes", "device")
"""Parts of a score that differ between equal runs; the condensed set does not carry them."""


def score_run(setting: Stage, directory: RunDirectory) -> None:
    """Score the condensed set on every network and the baselines on the first; skip what is there.

    Rows are written as they are made, and networks in training are checkpointed.
    """
    config, world = setting.config, setting.world
    condensed = _from_leader(directory.condensed, world)
    made_from = condensed.provenance.get("data_fingerprint")
    if made_from != setting.train.fingerprint:
        raise ArtifactError(
            f"{directory.condensed} must be scored on the data that it is of: {config.data} "
            "has changed since; choose another --output"
        )
    if setting.portable is not None:
        if world.leader:
            write_json(directory.scores, directory.scores_so_far())
        if not directory.scores_so_far():
            log(
                f"not scored: {config.data} holds no test images; where they are, run "
                f"dance evaluate {directory.path} --data DATA"
            )
        return
    test = world.in_turn(lambda: load(config.data, "test", config.source)).to(setting.device)
    board = Scoreboard(setting, directory, test)
    for name in config.networks:
        board.add("condensed", setting.method.title, name, condensed)
    first, baselines = config.networks[0], config.evaluation.baselines
    if "initial" in baselines and isinstance(setting.method, Condenser):
        board.add("initial", "Initial canvases", first, _from_leader(directory.initial, world))
    if "random" in baselines and config.method != _RANDOM:
        if world.leader:
            _select_random(setting, directory)
        board.add("random", "Random selection", first, _from_leader(directory.random, world))
    if "whole" in baselines:
        board.add_whole()
    condensed.scores = [
        _lasting(score) for score in board.scores if score["subject"] == "condensed"
    ]
    if world.leader:
        condensed.save(directory.condensed)


def _from_leader(path: Path, world: World) -> CondensedSet:
    """A condensed set that the leader has on its disk."""
    held = load_set(path) if world.leader else None
    if world.size == 1 and held is not None:
        return held
    tensors: dict[str, Any] = world.send(
        {"pixels": held.pixels, "labels": held.labels} if held else None
    )
    names = ("classes", "mean", "std", "factor", "space", "provenance", "scores")
    facts = world.tell({name: getattr(held, name) for name in names} if held else None)
    return CondensedSet(**tensors, **facts)


class Scoreboard:
    """The rows of a run's ``scores.json``."""

    def __init__(self, setting: Stage, directory: RunDirectory, test: ImageSet) -> None:
        self._setting, self._directory, self._test = setting, directory, test
        self.scores: list[Score] = setting.world.tell(directory.scores_so_far())

    def add(self, subject: str, label: str, network: str, condensed: CondensedSet) -> None:
        """Score one set on one network, unless that row exists."""
        config = self._setting.config
        if self._held(subject, network):
            return
        shape = named_network(network, config.network)
        checkpoints = _checkpoints(
            self._directory.checkpoints,
            condensed,
            self._test,
            subject=subject,
            network=shape,
            asked=_asked(config.evaluation, config.seed),
            precision=config.precision,
            world=self._setting.world,
        )
        score = score_set(
            condensed,
            self._test,
            network_for(shape, self._test),
            network,
            config.evaluation,
            subject=subject,
            label=label,
            seed=config.seed,
            bfloat16=self._setting.bfloat16,
            checkpoints=checkpoints,
            world=self._setting.world,
        )
        self._keep(score)
        checkpoints.clear()

    def add_whole(self) -> None:
        """Test the experts: networks trained on the whole real set."""
        setting, config = self._setting, self._setting.config
        if self._held("whole", config.network.name):
            return
        experts = setting.pool().ensure(config.experts.count)
        seconds = sum(expert.header["seconds"] for expert in experts)
        score = score_states(
            [expert.final for expert in experts],
            self._test,
            setting.network,
            config.network.name,
            epochs=config.experts.epochs,
            train_images=len(setting.train.labels),
            storage_bytes=setting.train.images.numel(),
            seconds=seconds,
            seeds=[expert.index for expert in experts],
            bfloat16=setting.bfloat16,
        )
        kept = ("index", "train_accuracy", "epochs", "seconds")
        rows = [
            {name: expert.header[name] for name in kept} | {"test_accuracy": accuracy}
            for expert, accuracy in zip(experts, score["last"]["values"], strict=True)
        ]
        if setting.world.leader:
            self._directory.add_costs(experts=rows)
        self._keep(score)

    def _held(self, subject: str, network: str) -> bool:
        config = self._setting.config
        asked = _asked(config.evaluation, config.seed)
        return any(
            score["subject"] == subject
            and score["network"] == network
            and (subject == "whole" or score["asked"] == asked)
            for score in self.scores
        )

    def _keep(self, score: Score) -> None:
        config = self._setting.config
        self.scores.append({**score, "asked": _asked(config.evaluation, config.seed)})
        if not self._setting.world.leader:
            return
        write_json(self._directory.scores, self.scores)
        seconds = sum(row["seconds"] for row in self.scores if row["subject"] != "whole")
        self._directory.add_costs(evaluate_seconds=seconds)


def _asked(config: EvaluationConfig, seed: int) -> dict[str, Any]:
    """What a row was asked for, to recognise it when the command is repeated."""
    names = ("protocol", "repeats", "epochs")
    return {name: getattr(config, name) for name in names} | {"seed": seed}


def _lasting(score: Score) -> Score:
    """What of a score is kept inside the set: what any run of the same settings would give."""
    return {name: value for name, value in score.items() if name not in _MEASURED}


def _checkpoints(
    directory: Path,
    condensed: CondensedSet,
    test: ImageSet,
    *,
    subject: str,
    network: NetworkConfig,
    asked: dict[str, Any],
    precision: str,
    world: World,
) -> Checkpoints:
    """Of one row: another number of networks or epochs is another row.

    Each process has its own, of its networks; another number of processes starts the row anew.
    """
    facts = {name: getattr(condensed, name) for name in ("factor", "space", "mean", "std")}
    stamp = {
        "asked": asked,
        "network": to_plain(network),
        "precision": precision,
        "set": checksum({"pixels": condensed.pixels, "labels": condensed.labels}, facts),
        "data_fingerprint": test.fingerprint,
    }
    part = f"-{world.rank}of{world.size}" if world.size > 1 else ""
    name = f"score-{subject}-{network.name}-{digest(asked)[:8]}{part}"
    return Checkpoints(directory, name, stamp)


def _select_random(setting: Stage, directory: RunDirectory) -> None:
    """Store a random selection of as many real images per class as the set stores."""
    if directory.random.exists():
        return
    setting = setting.alone()
    method = METHODS.get(_RANDOM)
    selector = method(method.Config())
    assert isinstance(selector, Coreset)
    rows = selector.select(setting.problem(setting.initial(), []))
    pixels = setting.train.images[rows].float() / 255
    package(pixels, setting, selector, factor=1).save(directory.random)


def evaluate(
    target: Path,
    config: EvaluationConfig,
    networks: Sequence[str],
    *,
    source: DataConfig,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    data: str | None = None,
) -> list[Score]:
    """Score a stored set and keep the scores inside it, and beside it when it is in a run.

    Args:
        target: run directory or condensed set.
        config: protocol and its changes.
        networks: names; the set's own network keeps the depth and norm it was condensed with.
        source: how the data set is read.
        seed: of the networks.
        device: where to train them.
        precision: ``float32`` or ``bfloat16``.
        data: name or path of the data set (none: the one in the set's provenance).

    An interrupted scoring goes on when it is asked for again.

    Raises:
        DanceError: no such set, it is damaged, or its data set cannot be read.
    """
    for network in networks:
        NETWORKS.get(network)
    path = target / "condensed.safetensors" if target.is_dir() else target
    condensed = load_set(path)
    made = condensed.provenance.get("config", {})
    name = data or made.get("data")
    if name is None:
        raise ConfigError(f"{path} does not say which data it is of: name it with --data")
    need_images(name, "scoring")
    world = join()
    place = own_device(device, world)
    source = replace(source, size=condensed.side)
    test = world.in_turn(lambda: load(name, "test", source)).to(place)
    if test.classes != condensed.classes:
        raise ConfigError(
            "the data must have the classes of the set: "
            f"{path} has {list(condensed.classes)[:5]}…, {name} has {list(test.classes)[:5]}…; "
            "name the right data with --data"
        )
    own = build(NetworkConfig, made.get("network", {}))
    beside = RunDirectory(path.parent)
    unfinished = path.with_name(f"{path.name}.checkpoints")
    scores = []
    for network in networks:
        shape = named_network(network, own)
        checkpoints = _checkpoints(
            beside.checkpoints if beside.begun() else unfinished,
            condensed,
            test,
            subject="condensed",
            network=shape,
            asked=_asked(config, seed),
            precision=precision,
            world=world,
        )
        score = score_set(
            condensed,
            test,
            network_for(shape, test),
            network,
            config,
            subject="condensed",
            label=condensed.provenance.get("label", "condensed"),
            seed=seed,
            bfloat16=precision == "bfloat16",
            checkpoints=checkpoints,
            world=world,
        )
        if test.fingerprint != condensed.provenance.get("data_fingerprint"):
            score["notes"].append("scored on data with another fingerprint than it was made from")
        scores.append({**score, "asked": _asked(config, seed)})
        condensed.scores = _replaced(condensed.scores, _lasting(scores[-1]))
        if not world.leader:
            continue
        condensed.save(path)
        if beside.begun():
            write_json(beside.scores, _replaced(beside.scores_so_far(), scores[-1]))
        checkpoints.clear()
    return scores


def _replaced(scores: Sequence[Score], new: Score) -> list[Score]:
    """The rows with ``new``, which takes the place of one that was asked for in the same words."""
    same = ("subject", "network", "asked")
    return [row for row in scores if any(row.get(name) != new[name] for name in same)] + [new]
