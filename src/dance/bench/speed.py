"""``dance bench speed``: how fast the library is, against the literal reference and the machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dance.bench import page
from dance.bench.arithmetic import COUNTED, step_arithmetic
from dance.bench.contest import (
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
from dance.bench.reference import PlainConvNet, ReferenceFit, plain_network, predict, standardised
from dance.bench.timing import Contestant, alternate, ratio, summary, timed
from dance.core.errors import ConfigError, DanceError
from dance.core.progress import log, track
from dance.core.rng import generator
from dance.core.storage import write_json, write_text
from dance.data import DataConfig, load
from dance.data.find import find
from dance.engine import RunConfig
from dance.engine.package import package
from dance.engine.stage import Stage, stage
from dance.evaluation import PROTOCOLS
from dance.methods import METHODS, Problem
from dance.networks import State
from dance.recipes import resolve
from dance.training import Fit, FitConfig, TrainingData
from dance.training import fit as training

FORMAT = 1
_ALWAYS, _WHERE_FOUND = ("digits",), ("cifar10", "cifar100")
"""Data that is measured when none is named."""
_LONGEST = 10.0
"""Seconds that one contestant may take in one round."""
_LEAST = 0.2
"""Seconds that one sample of a training or test lasts at least."""
_MOST_STEPS = 64
_TESTED = 1024
"""Test images that are predicted in one go."""


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """What is measured.

    Attributes:
        data: names or paths (none: the embedded digits, and CIFAR-10 and CIFAR-100 where found).
        ipc: images per class.
        rounds: in which all contestants take turns, after one to warm up.
        settings: nested plain settings of the runs that win over those of the recipes.
        command: that asked for it, for the record.
    """

    data: tuple[str, ...] = ()
    ipc: tuple[int, ...] = (1, 10, 50)
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
        DanceError: data or a setting cannot be used; before anything is measured or written.
    """
    runs = _runs(config)
    first = stage(runs[0])
    record: dict[str, Any] = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": config.command,
        "seed": first.config.seed,
        "rounds": config.rounds,
        "precision": first.config.precision,
        "counted": COUNTED,
        "machine": {**describe(first.device), "ceilings": ceilings(first.device)},
        "steps": [],
        "training": [],
        "skipped": [],
    }
    trained: set[str] = set()
    with track("measuring", len(runs), "settings") as task:
        for run in runs:
            task.note = f"{run.data}, {run.ipc} images per class"
            setting, problem = staged(run)
            if run.data not in trained:
                trained.add(run.data)
                record["training"] += _experts_and_tests(setting, config.rounds)
            record["training"].append(_evaluation(setting, config.rounds))
            record["steps"].append(_steps(setting, problem, config, record))
            write_json(directory / "speed.json", record)
            write_text(directory / "speed.md", page.markdown(record))
            task.advance()
    return record


def _runs(config: SpeedConfig) -> list[RunConfig]:
    """Every run that is measured, checked and with its data and first canvases seen once."""
    if config.rounds < 1:
        raise ConfigError(f"rounds must be at least 1: got {config.rounds}")
    if not config.ipc:
        raise ConfigError("ipc must name at least one number of images per class: got none")
    runs = []
    for data in config.data or _default_data(config):
        for ipc in config.ipc:
            run = resolve(data=data, method=DANCE, ipc=ipc, overrides=config.settings)
            runs.append(with_targets(run, EXACT) or run)
    for run in runs:
        setting = stage(run)
        PlainConvNet(setting.network)
        setting.initial()
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
    setting: Stage, problem: Problem, config: SpeedConfig, record: dict[str, Any]
) -> dict[str, Any]:
    """Steps of all contestants at one setting."""
    run, classes = setting.config, problem.train.num_classes
    loop = LiteralLoop(setting, problem, _LONGEST)
    own = min(classes, max(loop.classes, problem.chunk))
    engine = Engine.of(setting, problem, own)
    runs, parts = {REFERENCE: run, EXACT: run}, {REFERENCE: loop.classes, EXACT: own}
    contestants = {REFERENCE: loop.contestant(), EXACT: engine.contestant()}
    if (banked := with_targets(run, BANK)) is not None:
        runs[BANK], parts[BANK] = banked, own
        contestants[BANK] = Engine.of(*staged(banked), own).contestant()
    others = [name for name in condensers() if name != DANCE]
    for name in others:
        try:
            other = resolve(data=run.data, method=name, ipc=run.ipc, overrides=config.settings)
            contestants[name] = Engine.of(*staged(other)).contestant()
            runs[name] = other
        except DanceError as error:
            skipped = {"data": run.data, "ipc": run.ipc, "method": name, "reason": str(error)}
            record["skipped"].append(skipped)
    samples = alternate(contestants, config.rounds, dict.fromkeys(others, _LONGEST))
    needed = step_arithmetic(problem, setting.method.config)
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
        "name": problem.train.name,
        "fingerprint": problem.train.fingerprint,
        "classes": classes,
        "ipc": run.ipc,
        "factor": run.factor,
        "side": problem.train.side,
        "chunk": problem.chunk,
        "contestants": rows,
        "phases": {name: summary([split.get(name, 0.0) for split in splits]) for name in names},
        "watched": ratio([sum(split.values()) for split in splits], unwatched),
    }


def _experts_and_tests(setting: Stage, rounds: int) -> list[dict[str, Any]]:
    """Training of experts, and testing of a network."""
    train, config = setting.train, setting.config
    data = TrainingData(train.images, train.labels, train.mean, train.std)
    members = _together(setting, config.experts.count)
    rows = [
        _training(setting, "experts", data, config.experts, members, rounds),
    ]
    test = load(config.data, "test", config.source).to(setting.device)
    some = replace(test, images=test.images[:_TESTED], labels=test.labels[:_TESTED])
    testing = TrainingData(some.images, some.labels, train.mean, train.std)
    state = _initial(setting, 0)
    floats = standardised(replace(some, mean=train.mean, std=train.std), torch.float32)
    network = plain_network(setting.network, floats)
    network.load_state_dict(state)
    found = _compare(
        {
            REFERENCE: lambda _: predict(network, floats),
            EXACT: lambda _: training.predict(
                setting.network, state, testing, bfloat16=setting.bfloat16
            ),
        },
        {REFERENCE: len(some.labels), EXACT: len(some.labels)},
        setting.device,
        rounds,
    )
    rows.append(_row(setting, "testing", found, ipc=None, members=1, batch=len(some.labels)))
    return rows


def _evaluation(setting: Stage, rounds: int) -> dict[str, Any]:
    """Training of evaluation networks on the first canvases."""
    config, train, device = setting.config, setting.train, setting.device
    protocol = PROTOCOLS.get(config.evaluation.protocol)
    condensed = package(setting.initial(), setting)
    images, targets = condensed.images().to(device), condensed.targets().to(device)
    data = TrainingData(images, targets, train.mean, train.std)
    fit = protocol.schedule(len(data), train.num_classes, train.side)
    repeats = config.evaluation.repeats or protocol.networks(train.side)
    members = _together(setting, repeats)
    return _training(setting, "evaluation", data, fit, members, rounds, ipc=setting.config.ipc)


def _together(setting: Stage, count: int) -> int:
    """Networks that the engine trains at once: all of them on CUDA, one by one on a CPU."""
    return count if setting.device.type == "cuda" else 1


def _training(
    setting: Stage,
    what: str,
    data: TrainingData,
    config: FitConfig,
    members: int,
    rounds: int,
    ipc: int | None = None,
) -> dict[str, Any]:
    """SGD steps: one network after the other, and as many at once as the engine trains."""
    states = [_initial(setting, member) for member in range(members)]
    seeds = list(range(members))
    fit = Fit(setting.network, states, data, config, seeds, bfloat16=setting.bfloat16)
    literal = ReferenceFit(setting.network, states[0], data, config, 0)
    size = min(config.batch_size, len(data))
    order = torch.randperm(len(data), generator=generator(0, "measured order"))
    batches = [rows.to(setting.device) for rows in order.split(size) if len(rows) == size]

    def rows(number: int) -> torch.Tensor:
        """Of a step's batch."""
        batch: torch.Tensor = batches[number % len(batches)]
        return batch

    found = _compare(
        {
            REFERENCE: lambda number: literal.step(rows(number), number),
            EXACT: lambda number: fit.step(rows(number)[None].expand(members, -1), number),
        },
        {REFERENCE: size, EXACT: size * members},
        setting.device,
        rounds,
    )
    return _row(setting, what, found, ipc=ipc, members=members, batch=size)


def _compare(
    steps: Mapping[str, Callable[[int], object]],
    images: Mapping[str, int],
    device: torch.device,
    rounds: int,
) -> dict[str, list[float]]:
    """Images per second of each contestant by round.

    Args:
        steps: one step by its number.
        images: that each sees in a step.
        device: where they run.
        rounds: to measure.
    """

    def repeated(name: str, count: int) -> Contestant:
        def run(number: int) -> float:
            """Seconds of an image."""
            first = number * count

            def several() -> None:
                """Steps that are long enough together."""
                for step in range(first, first + count):
                    steps[name](step)

            return timed(several, device) / (count * images[name])

        return run

    contestants = {}
    for name, step in steps.items():
        step(0)
        once = timed(lambda step=step: step(1), device)  # type: ignore[misc]
        contestants[name] = repeated(name, max(2, min(_MOST_STEPS, math.ceil(_LEAST / once))))
    seconds = alternate(contestants, rounds)
    return {name: [1 / each for each in found] for name, found in seconds.items()}


def _row(
    setting: Stage, what: str, found: Mapping[str, Sequence[float]], **facts: Any
) -> dict[str, Any]:
    return {
        "what": what,
        "data": setting.config.data,
        "name": setting.train.name,
        **facts,
        "images_per_second": {name: summary(rates) for name, rates in found.items()},
        "times_reference": ratio(found[EXACT], found[REFERENCE]),
    }


def _initial(setting: Stage, member: int) -> State:
    state = setting.network.initial(generator(0, "measured weights", member))
    return {name: tensor.to(setting.device) for name, tensor in state.items()}
