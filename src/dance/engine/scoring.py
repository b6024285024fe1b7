"""Scoring of runs and stored sets; test images are loaded only here, for finished sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from dance.condensed import CondensedSet, Score, load_set, set_file
from dance.condensed.container import unpack, update_set
from dance.condensed.decoders.identity import IDENTITY
from dance.condensed.score import Asked, merged
from dance.core.checkpoints import Checkpoints
from dance.core.config import build, digest, to_plain
from dance.core.errors import ArtifactError, ConfigError
from dance.core.progress import log
from dance.core.world import World, join
from dance.data import DataConfig, ImageSet, load
from dance.engine.context import RunContext, local_device, named_network, network_for
from dance.engine.package import package
from dance.engine.portable import need_images
from dance.engine.relabel import ORIGIN, Relabeller
from dance.engine.rundir import RunDirectory
from dance.evaluation import PROTOCOLS, EvaluationConfig, score_set, score_states
from dance.experts import ExpertConfig
from dance.experts.teacher import TeacherConfig
from dance.methods import METHODS, Condenser, Coreset
from dance.networks import NETWORKS, NetworkConfig

RANDOM = "random"
"""Name of the method whose selection is a baseline of the others."""


def score_run(context: RunContext, directory: RunDirectory) -> None:
    """Score the condensed set with every network and the baselines with the first.

    Scores that exist are skipped. Each is written when it is complete, and networks in training are
    checkpointed. Soft labels, if requested, are made first, and the baselines get labels of the
    same teachers.
    """
    config, world = context.config, context.world
    condensed = _from_rank_zero(directory.condensed, world)
    made_from = condensed.provenance.get("data_fingerprint")
    if made_from != context.train.fingerprint:
        raise ArtifactError(
            f"{directory.condensed} must be scored on the data of which it was made: "
            f"{config.data} has changed since; choose another --output"
        )
    if context.portable is not None:
        if world.is_rank_zero:
            directory.add_scores([])
        if not directory.scores_so_far():
            log(
                f"not scored: {config.data} holds no test images; where they are, run "
                f"dance evaluate {directory.path} --data DATA"
            )
        return
    teacher = None
    if config.labels == "soft":
        teacher = _relabeller(context, directory)
        condensed = _relabelled(teacher, condensed, directory)
    test = world.in_turn(lambda: load(config.data, "test", config.source)).to(context.device)
    board = Scoreboard(context, directory, test, condensed if teacher else None)
    for name in config.networks:
        board.add(
            "condensed", context.method.title, name, condensed if teacher else condensed.hard()
        )
    first, baselines = config.networks[0], config.evaluation.baselines

    def compare(subject: str, label: str, path: Path) -> None:
        if board.has(subject, first):
            return
        baseline = _from_rank_zero(path, world)
        if teacher is not None:
            baseline = teacher.labelled(baseline, condensed.provenance[ORIGIN])
        board.add(subject, label, first, baseline)

    if "initial" in baselines and isinstance(context.method, Condenser):
        compare("initial", "Initial stored images", directory.initial)
    if "random" in baselines and config.method != RANDOM:
        if world.is_rank_zero:
            _select_random(context, directory)
        compare("random", "Random selection", directory.random)
    if "whole" in baselines:
        board.add_whole()
    if world.is_rank_zero:
        _store_scores(
            directory.condensed, [row for row in board.scores if row.subject == "condensed"]
        )


def _from_rank_zero(path: Path, world: World) -> CondensedSet:
    """Load a condensed set on rank 0, and broadcast it."""
    if world.size == 1:
        return load_set(path)
    tensors, header = load_set(path).pack() if world.is_rank_zero else ({}, {})
    return unpack(world.broadcast_tensors(tensors), world.broadcast_object(header))


def _relabeller(context: RunContext, directory: RunDirectory) -> Relabeller:
    """The experts of a run as teachers."""
    config = context.config
    return Relabeller(
        train=context.train,
        network=config.network,
        experts=config.experts,
        config=config.teacher,
        seed=config.seed,
        precision=config.precision,
        device=context.device,
        world=context.world,
        directory=directory.checkpoints,
    )


def _relabelled(
    teacher: Relabeller, condensed: CondensedSet, directory: RunDirectory
) -> CondensedSet:
    """The set of the run with soft labels, which are stored in its file."""
    started = time.monotonic()
    found = teacher.relabelled(condensed)
    if found is not condensed and teacher.world.is_rank_zero:
        _relabel(directory.condensed, found)
        spent = directory.costs_so_far().get("labels_seconds", 0.0)
        directory.add_costs(labels_seconds=spent + time.monotonic() - started)
    return found


class Scoreboard:
    """The rows of a run's ``scores.json``.

    Args:
        context: of the run.
        directory: of the run.
        test: unseen images.
        soft: the set with its soft labels, if networks are to learn these; None for hard labels.
    """

    def __init__(
        self,
        context: RunContext,
        directory: RunDirectory,
        test: ImageSet,
        soft: CondensedSet | None = None,
    ) -> None:
        self._context, self._directory, self._test = context, directory, test
        self._asked = _asked(context.config.evaluation, context.config.seed, soft)
        self.scores: list[Score] = context.world.broadcast_object(directory.scores_so_far())

    def add(self, subject: str, label: str, network: str, condensed: CondensedSet) -> None:
        """Score one set on one network, unless that row exists."""
        config = self._context.config
        if self.has(subject, network):
            return
        norm = PROTOCOLS.get(config.evaluation.protocol).norm
        shape = named_network(network, config.network, norm)
        checkpoints = _checkpoints(
            self._directory.checkpoints,
            condensed,
            self._test,
            subject=subject,
            network=shape,
            asked=self._asked,
            precision=config.precision,
            world=self._context.world,
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
            bfloat16=self._context.bfloat16,
            checkpoints=checkpoints,
            world=self._context.world,
        )
        self._store(replace(score, asked=self._asked))
        checkpoints.clear()

    def add_whole(self) -> None:
        """Test the experts: networks trained on the whole real set."""
        context, config = self._context, self._context.config
        if self.has("whole", config.network.name):
            return
        experts = context.pool().ensure(config.experts.count)
        seconds = sum(expert.header["seconds"] for expert in experts)
        score = score_states(
            [expert.final for expert in experts],
            self._test,
            context.network,
            config.network.name,
            epochs=config.experts.epochs,
            train_images=len(context.train.labels),
            storage_bytes=context.train.images.numel(),
            seconds=seconds,
            seeds=[expert.index for expert in experts],
            bfloat16=context.bfloat16,
        )
        names = ("index", "train_accuracy", "epochs", "seconds")
        rows = [
            {name: expert.header[name] for name in names} | {"test_accuracy": accuracy}
            for expert, accuracy in zip(experts, score.last.values, strict=True)
        ]
        if context.world.is_rank_zero:
            self._directory.add_costs(experts=rows)
        self._store(score)

    def has(self, subject: str, network: str) -> bool:
        """Whether that row exists."""
        return any(
            score.subject == subject
            and score.network == network
            and (subject == "whole" or score.asked == self._asked)
            for score in self.scores
        )

    def _store(self, score: Score) -> None:
        self.scores = merged(self.scores, [score])
        if not self._context.world.is_rank_zero:
            return
        self.scores = self._directory.add_scores([score])
        seconds = sum(row.seconds or 0.0 for row in self.scores if row.subject != "whole")
        self._directory.add_costs(evaluate_seconds=seconds)


def _asked(config: EvaluationConfig, seed: int, soft: CondensedSet | None = None) -> Asked:
    """The settings of a row, which identify it.

    Args:
        config: protocol and changes to it.
        seed: of the networks.
        soft: the set with the soft labels, or with labels of the same teachers (None: hard labels).
    """
    return Asked(
        protocol=config.protocol,
        repeats=config.repeats,
        epochs=config.epochs,
        seed=seed,
        labels=None if soft is None else soft.provenance.get(ORIGIN, {}).get("asked", "soft"),
    )


def _checkpoints(
    directory: Path,
    condensed: CondensedSet,
    test: ImageSet,
    *,
    subject: str,
    network: NetworkConfig,
    asked: Asked,
    precision: str,
    world: World,
) -> Checkpoints:
    """The checkpoints of one row; they differ for other numbers of networks or epochs.

    Each process has checkpoints of its own networks. With another number of processes, the row is
    started again.
    """
    stamp = {
        "asked": asdict(asked),
        "network": to_plain(network),
        "precision": precision,
        "set": condensed.digest(),
        "data_fingerprint": test.fingerprint,
    }
    part = f"-{world.rank}of{world.size}" if world.size > 1 else ""
    name = f"score-{subject}-{network.name}-{digest(asdict(asked))[:8]}{part}"
    return Checkpoints(directory, name, stamp)


def _select_random(context: RunContext, directory: RunDirectory) -> None:
    """Store a random selection of real images, as many per class as the condensed set has."""
    if directory.random.exists():
        return
    context = context.single_process()
    method = METHODS.get(RANDOM)
    selector = method(method.Config())
    assert isinstance(selector, Coreset)
    rows = selector.select(context.task(context.initial(), []))
    pixels = context.train.images[rows].float() / 255
    package(pixels, context, selector, IDENTITY, rows=rows).save(directory.random)


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
    labels: str = "hard",
    teacher: TeacherConfig | None = None,
) -> list[Score]:
    """Score a stored set; the scores are stored in its file and, for a run, in ``scores.json``.

    The same call resumes an interrupted scoring.

    Args:
        target: run directory or condensed set.
        config: protocol and changes to it.
        networks: names; the network of the set has the depth and norm of the condensation.
        source: how the data set is read.
        seed: of the networks.
        device: where to train them.
        precision: ``float32`` or ``bfloat16``.
        data: name or path of the data set (none: the one in the set's provenance).
        labels: ``hard`` or ``soft``. Soft labels are those of the set's experts; they are computed
            and stored in the set unless it has labels of the same settings.
        teacher: which experts give them (None: the defaults).

    Raises:
        DanceError: no such set, it is damaged, or its data set cannot be read.
    """
    for network in networks:
        NETWORKS.get(network)
    scorer = StoredScorer.open(target, source, data=data, device=device, precision=precision)
    if labels == "soft":
        scorer.relabel(seed, teacher or TeacherConfig())
    asked = _asked(config, seed, scorer.condensed if labels == "soft" else None)
    scores = []
    for network in networks:
        score, checkpoints = scorer.score(config, network, asked)
        scores.append(score)
        if not scorer.world.is_rank_zero:
            continue
        _store_scores(scorer.path, [score])
        if scorer.run.begun():
            scorer.run.add_scores([score])
        checkpoints.clear()
    return scores


@dataclass(eq=False)
class StoredScorer:
    """Trains networks on a stored set and tests them.

    Attributes:
        path: file of the set.
        condensed: the set.
        test: unseen images.
        load_train: loads the training images.
        matching_network: the network that it was condensed with.
        precision: ``float32`` or ``bfloat16``.
        device: where networks are trained.
        world: the processes that share them.
        run: directory of the file, which may be that of a run.
    """

    path: Path
    condensed: CondensedSet
    test: ImageSet
    load_train: Callable[[], ImageSet]
    matching_network: NetworkConfig
    precision: str
    device: torch.device
    world: World
    run: RunDirectory

    @staticmethod
    def open(
        target: Path, source: DataConfig, *, data: str | None, device: str, precision: str
    ) -> StoredScorer:
        """Read a set and the images to test on.

        Args:
            target: run directory or condensed set.
            source: how the data set is read.
            data: name or path of the data set (none: the one in the set's provenance).
            device: where to train.
            precision: of the networks.

        Raises:
            DanceError: no such set, it is damaged, or its data set cannot be read.
        """
        path = set_file(target)
        condensed = load_set(path)
        made = condensed.provenance.get("config", {})
        name = data or made.get("data")
        if name is None:
            raise ConfigError(f"{path} does not say of which data it was made: name it with --data")
        need_images(name, "scoring")
        world = join()
        place = local_device(device, world)
        source = replace(source, size=condensed.resolution)
        test = world.in_turn(lambda: load(name, "test", source)).to(place)
        if test.classes != condensed.classes:
            raise ConfigError(
                "the data must have the classes of the set: "
                f"{path} has {list(condensed.classes)[:5]}…, {name} has "
                f"{list(test.classes)[:5]}…; name the right data with --data"
            )
        return StoredScorer(
            path=path,
            condensed=condensed,
            test=test,
            load_train=lambda: world.in_turn(lambda: load(name, "train", source)),
            matching_network=build(NetworkConfig, made.get("network", {})),
            precision=precision,
            device=place,
            world=world,
            run=RunDirectory(path.parent),
        )

    @property
    def folder(self) -> Path:
        """Where the checkpoints of networks in training lie."""
        beside = self.path.with_name(f"{self.path.name}.checkpoints")
        return self.run.checkpoints if self.run.begun() else beside

    def relabel(self, seed: int, teacher: TeacherConfig) -> None:
        """Give the set soft labels of its experts, and store them, unless it has them.

        Args:
            seed: of the experts, if the set does not record it.
            teacher: which experts give the labels.
        """
        made = self.condensed.provenance.get("config", {})
        relabeller = Relabeller(
            train=self.load_train(),
            network=self.matching_network,
            experts=build(ExpertConfig, made.get("experts", {})),
            config=teacher,
            seed=made.get("seed", seed),
            precision=self.precision,
            device=self.device,
            world=self.world,
            directory=self.folder,
        )
        self.condensed = relabeller.relabelled(self.condensed)
        if self.world.is_rank_zero:
            _relabel(self.path, self.condensed)

    def score(
        self, config: EvaluationConfig, network: str, asked: Asked
    ) -> tuple[Score, Checkpoints]:
        """Score the set on one network, with soft labels if ``asked`` has some.

        Returns:
            The score, and its checkpoints, which the caller clears.
        """
        learned = self.condensed.hard() if asked.labels is None else self.condensed
        shape = named_network(network, self.matching_network, PROTOCOLS.get(config.protocol).norm)
        checkpoints = _checkpoints(
            self.folder,
            learned,
            self.test,
            subject="condensed",
            network=shape,
            asked=asked,
            precision=self.precision,
            world=self.world,
        )
        score = score_set(
            learned,
            self.test,
            network_for(shape, self.test),
            network,
            config,
            subject="condensed",
            label=self.condensed.provenance.get("label", "condensed"),
            seed=asked.seed,
            bfloat16=self.precision == "bfloat16",
            checkpoints=checkpoints,
            world=self.world,
        )
        if self.test.fingerprint != self.condensed.provenance.get("data_fingerprint"):
            note = "scored on data with another fingerprint than that of which it was made"
            score = replace(score, notes=(*score.notes, note))
        return replace(score, asked=asked), checkpoints


def stored_scores(target: Path) -> tuple[CondensedSet, list[Score]]:
    """A stored set and the scores of it, of the run if it is in one.

    Raises:
        ArtifactError: the set or the scores cannot be read, or there are none.
    """
    path = set_file(target)
    condensed, run = load_set(path), RunDirectory(path.parent)
    in_run = run.begun() and path == run.condensed
    rows = [row for row in run.scores_so_far() if row.subject == "condensed"] if in_run else []
    rows = rows or condensed.scores
    if not rows:
        raise ArtifactError(f"{path} has no scores yet: run dance evaluate {target}")
    return condensed, rows


def recorded_source(condensed: CondensedSet, *, other_data: bool = False) -> DataConfig:
    """How the data of a set was read, if that is recorded; the defaults otherwise.

    Args:
        condensed: the set.
        other_data: whether other data is read, whose splits and columns have names of their own.

    Raises:
        ArtifactError: what is recorded cannot be used.
    """
    recorded = condensed.provenance.get("config", {}).get("source") or {}
    try:
        source = build(DataConfig, recorded, "source")
    except ConfigError as error:
        raise ArtifactError(f"the set records settings that cannot be used: {error}") from error
    if source.root is not None and not Path(source.root).expanduser().is_dir():
        source = replace(source, root=None)  # the set was made on another machine
    return replace(source, test_split=None, label_column=None) if other_data else source


def _store_scores(path: Path, scores: Sequence[Score]) -> None:
    """Store scores in the file of their set.

    Raises:
        ArtifactError: the file was replaced by another set while this one was scored.
    """
    new = [score.lasting() for score in scores]

    def add(stored: CondensedSet) -> CondensedSet:
        if not all(stored.was_scored_by(score) for score in new):
            raise _replaced(path)
        return replace(stored, scores=merged(stored.scores, new))

    update_set(path, add)


def _relabel(path: Path, labelled: CondensedSet) -> None:
    """Store a set with its soft labels, and keep the scores that its file holds by now.

    Raises:
        ArtifactError: the file was replaced by another set meanwhile.
    """

    def change(stored: CondensedSet) -> CondensedSet:
        if stored.hard().digest() != labelled.hard().digest():
            raise _replaced(path)
        return replace(labelled, scores=stored.scores)

    update_set(path, change)


def _replaced(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} must stay as it is while it is scored: it was replaced by another set; run the "
        "command again"
    )
