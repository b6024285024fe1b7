"""``dance bench methods``: every method under one budget and one protocol, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dance import engine
from dance.bench import results_table
from dance.bench.entries import EXACT, Engine, staged, with_targets
from dance.bench.machine import describe
from dance.bench.timing import timed
from dance.core.config import merge, to_plain
from dance.core.errors import ConfigError, DanceError
from dance.core.files import read_json, write_json, write_text
from dance.core.lock import locked
from dance.core.progress import log
from dance.engine import RunConfig
from dance.engine.context import RunContext, prepare
from dance.methods import METHODS, Condenser
from dance.networks import NetworkConfig
from dance.recipes import build_run
from dance.recipes.resolve import resolve

FORMAT = 2
_FILE, _PAGE = "methods.json", "methods.md"
_PILOT = 0.2
"""Part of the seconds that steps are timed for, before the number of all of them is chosen."""
_OFF = 1.25
"""A condensation that took so many times its seconds, or so many times less, is made again."""


@dataclass(frozen=True, kw_only=True)
class MethodsConfig:
    """What is compared.

    Exactly one of ``seconds`` and ``updates`` is the budget.

    Attributes:
        data: names or paths.
        ipc: images per class.
        methods: that take part (none: all).
        seconds: that each may condense, beside the training of experts and trajectories. The steps
            that fill them are chosen before a run and fixed in it.
        updates: steps of the images that each may make.
        base: as for ``dance condense --config``.
        settings: nested plain settings that win over those of the recipes, for all alike.
        command: that asked for it, for the record.
    """

    data: tuple[str, ...]
    ipc: tuple[int, ...] = (1, 10)
    methods: tuple[str, ...] | None = None
    seconds: float | None = None
    updates: int | None = None
    base: str | None = "quick"
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def methods(config: MethodsConfig, directory: Path) -> dict[str, Any]:
    """Condense and score with every method.

    The rest of a method's settings are those of its recipe; the network is the same for all, and so
    are its norm (batch norm in some recipes) and what scores the sets. Real images take part in
    every step: a bank of them is an outlay that many runs share.

    ``methods.json`` and ``methods.md`` are kept up to date meanwhile. What they hold is not made
    again, so the same command goes on where it was stopped. Runs lie beside them and are those of
    ``dance condense``.

    Args:
        config: what is compared.
        directory: for the file and the runs; made if need be.

    Returns:
        The content of ``methods.json``.

    Raises:
        DanceError: data or a setting cannot be used, or the directory cannot be written.
    """
    runs = _runs(config)
    place = directory / _FILE
    budget = {"seconds": config.seconds, "updates": config.updates}
    for number, run in enumerate(runs):
        asked = to_plain(run)
        if any(row["asked"] == asked for row in _record(place, budget)["rows"]):
            continue
        log(f"{number + 1} of {len(runs)}: {run.method} on {run.data}, {run.ipc} images per class")
        which = {"data": run.data, "ipc": run.ipc, "method": run.method}
        found, reason = {}, ""
        try:
            found = _row(run, config, directory)
        except DanceError as error:
            reason = str(error)
        with locked(directory / ".methods", "writing this table"):
            record = _record(place, budget)  # other commands may add rows at the same time
            record["skipped"] = [s for s in record["skipped"] if not which.items() <= s.items()]
            if reason:
                record["skipped"].append({**which, "reason": reason})
            else:
                record["rows"].append({"asked": asked, "command": config.command, **found})
            write_json(place, record)
            write_text(directory / _PAGE, results_table.markdown(record))
    return _record(place, budget)


def _record(place: Path, budget: Mapping[str, float | None]) -> dict[str, Any]:
    """The record that lies there, or an empty one."""
    empty: dict[str, Any] = {"format": FORMAT, "budget": budget, "rows": [], "skipped": []}
    if not place.exists():
        return empty
    held: dict[str, Any] = read_json(place)
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise ConfigError(
            f"{place} must be a record that this version wrote (format {FORMAT}): it is another "
            "file; choose another --output"
        )
    if held["budget"] != budget:
        raise ConfigError(
            f"{place} must hold rows of the same budget, {results_table.budget(empty)}: it has "
            f"{results_table.budget(held)}; choose another --output"
        )
    return held


def _runs(config: MethodsConfig) -> list[RunConfig]:
    """Every run, checked."""
    if (config.seconds is None) == (config.updates is None):
        raise ConfigError(
            "a comparison must have one budget, --seconds of condensing or --updates of the "
            f"images: got {'none' if config.seconds is None else 'both'}"
        )
    for name, value in (("seconds", config.seconds), ("updates", config.updates)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} must be more than 0: got {value}")
    for name, values in (("data", config.data), ("ipc", config.ipc)):
        if not values:
            raise ConfigError(f"a comparison must name its {name}: got none")
    names = METHODS.names() if config.methods is None else config.methods
    alike = {"network": to_plain(NetworkConfig()), "evaluation": {"baselines": []}}
    settings = merge(alike, config.settings)
    runs = [
        resolve(data=data, method=name, ipc=ipc, base=config.base, overrides=settings)
        for data in config.data
        for ipc in config.ipc
        for name in names
    ]
    return [with_targets(run, EXACT) or run for run in runs]


def _row(run: RunConfig, config: MethodsConfig, directory: Path) -> dict[str, Any]:
    """Condense and score under the budget; what came out."""
    context = prepare(run)
    method, steps = context.method, None
    if isinstance(method, Condenser):
        steps = config.updates if config.seconds is None else _steps_in(run, config.seconds)
    place = _made(run, steps, directory)
    costs = read_json(place / "costs.json")
    if steps is not None and config.seconds is not None:
        share = costs["condense_seconds"] / config.seconds
        fitting = max(1, int(steps / share))
        if not 1 / _OFF < share < _OFF and fitting != steps:
            log(f"{steps} steps took {share:.2f} of their seconds; again with {fitting}")
            steps, place = fitting, _made(run, fitting, directory)
            costs = read_json(place / "costs.json")
    scores = [s for s in read_json(place / "scores.json") if s["subject"] == "condensed"]
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(context.device),
        "method": run.method,
        "title": method.title,
        "data": context.train.name,
        "ipc": run.ipc,
        "factor": run.factor,
        "whitening": run.whitening,
        "updates": steps,
        "condense_seconds": costs["condense_seconds"],
        "before_seconds": sum(costs.get(f"{n}_seconds", 0.0) for n in ("experts", "trajectories")),
        "networks_bytes": _networks_bytes(context),
        "scores": scores,
        "run": place.name,
    }


def _made(run: RunConfig, steps: int | None, directory: Path) -> Path:
    """A finished run with so many steps."""
    name = f"{Path(run.data).stem}-ipc{run.ipc}-{run.method}"
    if steps is not None:
        run = build_run(merge(to_plain(run), {"options": {"iterations": steps}}))
        name += f"-{steps}"
    return engine.run(run, directory / name, ("dance", "bench", "methods"))


def _steps_in(run: RunConfig, seconds: float) -> int:
    """Steps that take so long, by timing the first ones."""
    context, task = staged(run)
    step = Engine.of(context, task).stepper()
    taken: list[float] = []
    while sum(taken) < _PILOT * seconds:
        number = len(taken)
        taken.append(timed(lambda: step(number), context.device))  # noqa: B023
    usual = taken[1:] or taken  # the first one warms up
    return max(1, int(seconds * len(usual) / sum(usual)))


def _networks_bytes(context: RunContext) -> int:
    """What lies on the disk before the method can begin: experts and trajectories."""
    config, method = context.config, context.method
    count = 2 * config.experts.count if method.needs_experts() else 0
    if method.trajectory_epochs():
        count += config.trajectories.count * (config.trajectories.epochs + 1)
    return 4 * count * context.network.parameter_count()
