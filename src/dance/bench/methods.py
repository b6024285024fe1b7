"""``dance bench methods``: every method under one budget and one protocol, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from dance import engine
from dance.bench import results_table
from dance.bench.entries import EXACT, Engine, prepare_task, with_targets
from dance.bench.machine import describe
from dance.bench.timing import timed
from dance.core.config import AtLeastOne, configuration, merge, to_plain
from dance.core.errors import ConfigError, DanceError
from dance.core.files import locked, read_json, write_json, write_text
from dance.core.format import plural
from dance.core.progress import log
from dance.engine import RunConfig, build_run
from dance.engine.context import RunContext, prepare
from dance.methods import METHODS, Condenser
from dance.networks import NetworkConfig
from dance.recipes.resolve import resolve

FORMAT = 2
_FILE, _PAGE = "methods.json", "methods.md"
_PILOT_FRACTION = 0.2
"""Fraction of the budget in seconds for which steps are timed, to choose the number of steps."""
_MAX_RATIO = 1.25
"""A condensation is repeated with another number of steps if it took this many times its budget, or
less than its budget divided by this."""


def _budget(value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ValueError("must be more than 0")
    return value


@configuration
class MethodsConfig:
    """The methods that are compared; their common budget is one of ``seconds`` and ``updates``."""

    data: tuple[str, ...]
    """Names or paths of data sets."""
    ipc: tuple[AtLeastOne, ...] = (1, 10)
    """Numbers of images per class."""
    methods: tuple[str, ...] | None = None
    """Names of the methods to compare (none: all)."""
    seconds: Annotated[float | None, BeforeValidator(_budget)] = None
    """Condensation time of each method in seconds, without the training of experts and
    trajectories. The number of steps that take this time is chosen before each run."""
    updates: Annotated[int | None, BeforeValidator(_budget)] = None
    """Number of updates of the images that each method makes."""
    base: str | None = "quick"
    """Settings to start from, as for ``dance condense --config``."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Nested plain settings that replace those of the recipes, for every method."""
    command: str = ""
    """Command line that asked for the comparison, for the record."""

    def __post_init__(self) -> None:
        """Refuse two budgets or none, and a comparison on nothing."""
        if (self.seconds is None) == (self.updates is None):
            raise ValueError(
                "a comparison must have one budget, --seconds of condensing or --updates of the "
                f"images: got {'none' if self.seconds is None else 'both'}"
            )
        for name in ("data", "ipc"):
            if not getattr(self, name):
                raise ValueError(f"a comparison must name its {name}: got none")


def methods(config: MethodsConfig, directory: Path) -> dict[str, Any]:
    """Condense and score with every method under one budget.

    The network, its norm (which is batch norm in some recipes) and the evaluation protocol are the
    same for all methods; the other settings are those of each method's recipe. Real images are
    forwarded at every step, because the cost of a bank of their features is shared by many runs.

    ``methods.json`` and ``methods.md`` are updated after each run. A row that they hold is not made
    again, so the same command resumes a comparison that was stopped. The run directories, which are
    those of ``dance condense``, are written beside them.

    Args:
        config: what is compared.
        directory: for the files and the runs; it is created if it does not exist.

    Returns:
        The content of ``methods.json``.

    Raises:
        DanceError: data or a setting cannot be used, or the directory cannot be written.
    """
    runs = _runs(config)
    path = directory / _FILE
    budget = {"seconds": config.seconds, "updates": config.updates}
    for number, run in enumerate(runs):
        settings = to_plain(run)
        if any(row["asked"] == settings for row in _read_record(path, budget)["rows"]):
            continue
        each = f"{plural(run.ipc, 'image')} per class"
        log(f"{number + 1} of {len(runs)}: {run.method} on {run.data}, {each}")
        case = {"data": run.data, "ipc": run.ipc, "method": run.method}
        row, reason = {}, ""
        try:
            row = _row(run, config, directory)
        except DanceError as error:
            reason = str(error)
        with locked(directory / ".methods", "writing this table"):
            record = _read_record(path, budget)  # other commands may have added rows meanwhile
            record["skipped"] = [s for s in record["skipped"] if not case.items() <= s.items()]
            if reason:
                record["skipped"].append({**case, "reason": reason})
            else:
                record["rows"].append({"asked": settings, "command": config.command, **row})
            write_json(path, record)
            write_text(directory / _PAGE, results_table.markdown(record))
    return _read_record(path, budget)


def _read_record(path: Path, budget: Mapping[str, float | None]) -> dict[str, Any]:
    """The content of ``methods.json``, or an empty record if there is no such file."""
    empty: dict[str, Any] = {"format": FORMAT, "budget": budget, "rows": [], "skipped": []}
    if not path.exists():
        return empty
    record: dict[str, Any] = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ConfigError(
            f"{path} must be a record that this version wrote (format {FORMAT}): it is another "
            "file; choose another --output"
        )
    if record["budget"] != budget:
        raise ConfigError(
            f"{path} must hold rows of the same budget, {results_table.budget(empty)}: it has "
            f"{results_table.budget(record)}; choose another --output"
        )
    return record


def _runs(config: MethodsConfig) -> list[RunConfig]:
    """The configurations of all runs."""
    names = METHODS.names() if config.methods is None else config.methods
    common = {"network": to_plain(NetworkConfig()), "evaluation": {"baselines": []}}
    settings = merge(common, config.settings)
    runs = [
        resolve(data=data, method=name, ipc=ipc, base=config.base, overrides=settings)
        for data in config.data
        for ipc in config.ipc
        for name in names
    ]
    return [with_targets(run, EXACT) or run for run in runs]


def _row(run: RunConfig, config: MethodsConfig, directory: Path) -> dict[str, Any]:
    """Condense and score under the budget, and return the row of the results table."""
    context = prepare(run)
    method, steps = context.method, None
    if isinstance(method, Condenser):
        steps = config.updates if config.seconds is None else _steps_in(run, config.seconds)
    finished = _finished_run(run, steps, directory)
    costs = read_json(finished / "costs.json")
    if steps is not None and config.seconds is not None:
        ratio = costs["condense_seconds"] / config.seconds
        corrected = max(1, int(steps / ratio))
        if not 1 / _MAX_RATIO < ratio < _MAX_RATIO and corrected != steps:
            log(
                f"{plural(steps, 'step')} took {ratio:.2f} times the budget; "
                f"condensing again with {plural(corrected, 'step')}"
            )
            steps, finished = corrected, _finished_run(run, corrected, directory)
            costs = read_json(finished / "costs.json")
    scores = [s for s in read_json(finished / "scores.json") if s["subject"] == "condensed"]
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
        "run": finished.name,
    }


def _finished_run(run: RunConfig, steps: int | None, directory: Path) -> Path:
    """Make a run, with ``steps`` iterations unless that is None, and return its directory."""
    name = f"{Path(run.data).stem}-ipc{run.ipc}-{run.method}"
    if steps is not None:
        run = build_run({"options": {"iterations": steps}}, base=run)
        name += f"-{steps}"
    return engine.run(run, directory / name, ("dance", "bench", "methods"))


def _steps_in(run: RunConfig, seconds: float) -> int:
    """Number of steps that take ``seconds``, from the time of the first steps."""
    context, task = prepare_task(run)
    step = Engine.of(context, task).stepper()
    step_seconds: list[float] = []
    while sum(step_seconds) < _PILOT_FRACTION * seconds:
        number = len(step_seconds)
        step_seconds.append(timed(lambda: step(number), context.device))  # noqa: B023
    warm = step_seconds[1:] or step_seconds
    return max(1, int(seconds * len(warm) / sum(warm)))


def _networks_bytes(context: RunContext) -> int:
    """Bytes on the disk of the experts and trajectories that the method needs."""
    config, method = context.config, context.method
    count = 2 * config.experts.count if method.needs_experts() else 0
    if method.trajectory_epochs():
        count += config.trajectories.count * (config.trajectories.epochs + 1)
    return 4 * count * context.network.parameter_count()
