"""``dance bench speed``: the speed of the library, the literal reference and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

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
    prepare_task,
    with_targets,
)
from dance.bench.machine import ceilings, describe
from dance.bench.memory import measure
from dance.bench.reference import PlainConvNet
from dance.bench.timing import alternate, ratio, summary
from dance.bench.training import evaluation, experts_and_tests
from dance.core.config import AtLeastOne, configuration
from dance.core.errors import ConfigError, DanceError
from dance.core.files import write_json, write_text
from dance.core.format import plural
from dance.core.progress import log, track
from dance.data import DataConfig
from dance.data.find import find
from dance.engine import RunConfig
from dance.engine.context import RunContext, prepare
from dance.methods import METHODS, CondensationTask
from dance.recipes.resolve import resolve

FORMAT = 1
_DEFAULT_DATA, _OPTIONAL_DATA = ("digits",), ("cifar10", "cifar100")
"""Data sets that are measured when none is named; the optional ones only if a copy is found."""
_MAX_SECONDS = 10.0
"""Longest time that one entry may take in one round."""


@configuration
class SpeedConfig:
    """The settings of a speed benchmark."""

    data: tuple[str, ...] = ()
    """Names or paths of data sets (none: the embedded digits, and CIFAR-10 and CIFAR-100 if
    found)."""
    ipc: Annotated[tuple[AtLeastOne, ...], Field(min_length=1)] = (1, 10, 50)
    """Numbers of images per class."""
    methods: tuple[str, ...] | None = None
    """Names of the methods to measure in addition to DANCE (none: all that optimise stored
    images)."""
    rounds: AtLeastOne = 5
    """Number of rounds, in each of which all entries take turns, after a warm-up round."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Nested plain settings of the runs, which replace those of the recipes."""
    command: str = ""
    """Command line that asked for the benchmark, for the record."""


def speed(config: SpeedConfig, directory: Path) -> dict[str, Any]:
    """Measure, and update ``speed.json`` and ``speed.md`` after each setting.

    The experts are untrained, since a step takes the same time with them, and no file is read in a
    timed loop.

    Args:
        config: what is measured.
        directory: for the two files; it is created if it does not exist.

    Returns:
        The content of ``speed.json``: plain data with every sample.

    Raises:
        DanceError: data or a setting cannot be used, or the directory cannot be written. It is
            raised before anything is measured.
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
    _write(
        record, directory
    )  # at once, so that a directory that cannot be written is reported early
    record["machine"]["ceilings"] = ceilings(first.device)
    trained: set[str] = set()
    with track("measuring", len(runs), "settings") as bar:
        for run in runs:
            bar.note = f"{run.data}, {plural(run.ipc, 'image')} per class"
            context, task = prepare_task(run)
            if run.data not in trained:
                trained.add(run.data)
                record["training"] += experts_and_tests(context, config.rounds)
            record["training"].append(evaluation(context, config.rounds))
            record["steps"].append(_steps(context, task, config, record))
            _write(record, directory)
            bar.advance()
    return record


def _write(record: dict[str, Any], directory: Path) -> None:
    """Write both files."""
    write_json(directory / "speed.json", record)
    write_text(directory / "speed.md", page.markdown(record))


def _runs(config: SpeedConfig) -> list[RunConfig]:
    """The configurations of all runs, after checks of their data and initial images."""
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
    names = list(_DEFAULT_DATA)
    for name in _OPTIONAL_DATA:
        source = resolve(data=name, overrides=config.settings).source
        if _is_available(name, source):
            names.append(name)
        else:
            log(f"no copy of {name} was found, so it is left out; --data-root says where to look")
    return names


def _is_available(name: str, source: DataConfig) -> bool:
    """Whether there is a copy of a data set that can be used without the network."""
    try:
        find(name, replace(source, offline=True))
    except DanceError:
        return False
    return True


def _steps(
    context: RunContext, task: CondensationTask, config: SpeedConfig, record: dict[str, Any]
) -> dict[str, Any]:
    """Time one step of every entry at one setting."""
    run, classes = context.config, task.train.num_classes
    loop = LiteralLoop(context, task, _MAX_SECONDS)
    engine_classes = min(classes, max(loop.classes, task.chunk))
    engine = Engine.of(context, task, engine_classes)
    runs = {REFERENCE: run, EXACT: run}
    classes_timed = {REFERENCE: loop.classes, EXACT: engine_classes}
    entries = {REFERENCE: loop.timed_entry(), EXACT: engine.timed_entry()}
    if (banked := with_targets(run, BANK)) is not None:
        runs[BANK], classes_timed[BANK] = banked, engine_classes
        entries[BANK] = Engine.of(*prepare_task(banked), engine_classes).timed_entry()
    names = condensers() if config.methods is None else config.methods
    other_methods = [name for name in names if name != DANCE]
    for name in other_methods:
        try:
            runs[name] = resolve(data=run.data, method=name, ipc=run.ipc, overrides=config.settings)
            entries[name] = Engine.of(*prepare_task(runs[name])).timed_entry()
        except DanceError as error:
            skipped = {"data": run.data, "ipc": run.ipc, "method": name, "reason": str(error)}
            record["skipped"].append(skipped)
    samples = alternate(entries, config.rounds, dict.fromkeys(other_methods, _MAX_SECONDS))
    needed = step_arithmetic(task, context.method.config)
    operations = {REFERENCE: needed.exact, EXACT: needed.exact, BANK: needed.synthetic}
    rows = []
    for name, seconds in samples.items():
        row: dict[str, Any] = {
            "name": name,
            "method": name if name in other_methods else DANCE,
            "title": METHODS.get(name if name in other_methods else DANCE).title,
            "precision": "float32" if name == REFERENCE else run.precision,
            "seconds": summary(seconds),
            "times_reference": ratio(samples[REFERENCE], seconds),
            "classes_timed": classes_timed.get(name, classes),
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
    by_phase, unwatched = engine.phase_seconds(config.rounds)
    phases = dict.fromkeys(name for seconds in by_phase for name in seconds)
    return {
        "data": run.data,
        "name": task.train.name,
        "fingerprint": task.train.fingerprint,
        "classes": classes,
        "ipc": run.ipc,
        "factor": run.factor,
        "resolution": task.train.resolution,
        "chunk": task.chunk,
        "entries": rows,
        "phases": {name: summary([s.get(name, 0.0) for s in by_phase]) for name in phases},
        "watched": ratio([sum(seconds.values()) for seconds in by_phase], unwatched),
    }
