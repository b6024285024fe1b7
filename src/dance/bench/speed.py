"""``dance bench speed``: how fast the library is, against the literal reference and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dance.bench import page
from dance.bench.arithmetic import COUNTED, step_arithmetic
from dance.bench.entries import (
    BANK,
    DANCE,
    EXACT,
    REFERENCE,
    Engine,
    LiteralLoop,
    condensers,
    staged,
    with_targets,
)
from dance.bench.machine import ceilings, describe
from dance.bench.memory import measure
from dance.bench.reference import PlainConvNet
from dance.bench.timing import alternate, ratio, summary
from dance.bench.training import evaluation, experts_and_tests
from dance.core.errors import ConfigError, DanceError
from dance.core.files import write_json, write_text
from dance.core.progress import log, track
from dance.data import DataConfig
from dance.data.find import find
from dance.engine import RunConfig
from dance.engine.context import RunContext, prepare
from dance.methods import METHODS, CondensationTask
from dance.recipes.resolve import resolve

FORMAT = 1
_ALWAYS, _WHERE_FOUND = ("digits",), ("cifar10", "cifar100")
"""Data that is measured when none is named."""
_LONGEST = 10.0
"""Seconds that one contestant may take in one round."""


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What is measured.

    Attributes:
        data: names or paths (none: the embedded digits, and CIFAR-10 and CIFAR-100 where found).
        ipc: images per class.
        methods: that take part beside DANCE (none: all that optimise stored images).
        rounds: in which all contestants take turns, after one to warm up.
        settings: nested plain settings of the runs that win over those of the recipes.
        command: that asked for it, for the record.
    """

    data: tuple[str, ...] = ()
    ipc: tuple[int, ...] = (1, 10, 50)
    methods: tuple[str, ...] | None = None
    rounds: int = 5
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def speed(config: SpeedConfig, directory: Path) -> dict[str, Any]:
    """Measure, and keep ``speed.json`` and ``speed.md`` up to date while doing so.

    Experts are untrained, which costs the same, and no file is read in a timed loop.

    Args:
        config: what is measured.
        directory: for the two files; made if need be.

    Returns:
        The content of ``speed.json``: plain data with every sample.

    Raises:
        DanceError: data or a setting cannot be used, or the directory cannot be written; before
            anything is measured.
    """
    runs = _runs(config)
    first = prepare(runs[0])
    record: dict[str, Any] = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": config.command,
        "seed": first.config.seed,
        "rounds": config.rounds,
        "precision": first.config.precision,
        "counted": COUNTED,
        "machine": {**describe(first.device), "ceilings": {}},
        "steps": [],
        "training": [],
        "skipped": [],
    }
    _keep(record, directory)
    record["machine"]["ceilings"] = ceilings(first.device)
    trained: set[str] = set()
    with track("measuring", len(runs), "settings") as bar:
        for run in runs:
            bar.note = f"{run.data}, {run.ipc} images per class"
            context, task = staged(run)
            if run.data not in trained:
                trained.add(run.data)
                record["training"] += experts_and_tests(context, config.rounds)
            record["training"].append(evaluation(context, config.rounds))
            record["steps"].append(_steps(context, task, config, record))
            _keep(record, directory)
            bar.advance()
    return record


def _keep(record: dict[str, Any], directory: Path) -> None:
    """Write what there is; called first of all, so that a bad directory costs no measuring."""
    write_json(directory / "speed.json", record)
    write_text(directory / "speed.md", page.markdown(record))


def _runs(config: SpeedConfig) -> list[RunConfig]:
    """Every run that is measured, checked and with its data and first stored images seen once."""
    if config.rounds < 1:
        raise ConfigError(f"rounds must be at least 1: got {config.rounds}")
    if not config.ipc:
        raise ConfigError("ipc must name at least one number of images per class: got none")
    for name in config.methods or ():
        METHODS.get(name)
        if name not in condensers():
            raise ConfigError(
                "methods must be ones that optimise stored images, which take steps: "
                f"got {name!r}; use {', '.join(condensers())}"
            )
    runs = []
    for data in config.data or _default_data(config):
        for ipc in config.ipc:
            run = resolve(data=data, method=DANCE, ipc=ipc, overrides=config.settings)
            runs.append(with_targets(run, EXACT) or run)
    for run in runs:
        context = prepare(run)
        PlainConvNet(context.network)
        context.initial()
    return runs


def _default_data(config: SpeedConfig) -> list[str]:
    found = list(_ALWAYS)
    for name in _WHERE_FOUND:
        source = resolve(data=name, overrides=config.settings).source
        if _is_here(name, source):
            found.append(name)
        else:
            log(f"{name} is not here and is left out; --data-root says where to look")
    return found


def _is_here(name: str, source: DataConfig) -> bool:
    try:
        find(name, replace(source, offline=True))
    except DanceError:
        return False
    return True


def _steps(
    context: RunContext, task: CondensationTask, config: SpeedConfig, record: dict[str, Any]
) -> dict[str, Any]:
    """Steps of all contestants at one setting."""
    run, classes = context.config, task.train.num_classes
    loop = LiteralLoop(context, task, _LONGEST)
    own = min(classes, max(loop.classes, task.chunk))
    engine = Engine.of(context, task, own)
    runs, parts = {REFERENCE: run, EXACT: run}, {REFERENCE: loop.classes, EXACT: own}
    contestants = {REFERENCE: loop.contestant(), EXACT: engine.contestant()}
    if (banked := with_targets(run, BANK)) is not None:
        runs[BANK], parts[BANK] = banked, own
        contestants[BANK] = Engine.of(*staged(banked), own).contestant()
    asked = condensers() if config.methods is None else config.methods
    others = [name for name in asked if name != DANCE]
    for name in others:
        try:
            other = resolve(data=run.data, method=name, ipc=run.ipc, overrides=config.settings)
            contestants[name] = Engine.of(*staged(other)).contestant()
            runs[name] = other
        except DanceError as error:
            skipped = {"data": run.data, "ipc": run.ipc, "method": name, "reason": str(error)}
            record["skipped"].append(skipped)
    samples = alternate(contestants, config.rounds, dict.fromkeys(others, _LONGEST))
    needed = step_arithmetic(task, context.method.config)
    operations = {REFERENCE: needed.exact, EXACT: needed.exact, BANK: needed.synthetic}
    rows = []
    for name, seconds in samples.items():
        row: dict[str, Any] = {
            "name": name,
            "method": name if name in others else DANCE,
            "title": METHODS.get(name if name in others else DANCE).title,
            "precision": "float32" if name == REFERENCE else run.precision,
            "seconds": summary(seconds),
            "times_reference": ratio(samples[REFERENCE], seconds),
            "classes_timed": parts.get(name, classes),
            **measure(runs[name], name),
        }
        if name in operations:
            rate = operations[name] / row["seconds"]["median"]
            best = record["machine"]["ceilings"][row["precision"]]["flops"]
            row |= {
                "operations": operations[name],
                "operations_per_second": rate,
                "share_of_matmul": rate / best,
            }
        rows.append(row)
    splits, unwatched = engine.split(config.rounds)
    names = dict.fromkeys(name for split in splits for name in split)
    return {
        "data": run.data,
        "name": task.train.name,
        "fingerprint": task.train.fingerprint,
        "classes": classes,
        "ipc": run.ipc,
        "factor": run.factor,
        "resolution": task.train.resolution,
        "chunk": task.chunk,
        "contestants": rows,
        "phases": {name: summary([split.get(name, 0.0) for split in splits]) for name in names},
        "watched": ratio([sum(split.values()) for split in splits], unwatched),
    }
