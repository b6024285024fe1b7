"""``dance bench FILE.yaml``: makes the cells of a plan that are missing, and the tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dance import engine
from dance.bench import figures, outcome
from dance.bench.board import Board
from dance.bench.execute import LOGS, Executor, State, execute
from dance.bench.plan import Bench, Cell, check_extends
from dance.core.config import build, digest, to_plain
from dance.core.costs import build_seconds
from dance.core.errors import ConfigError, DanceError
from dance.core.files import locked, read_json, write_text
from dance.core.progress import log
from dance.core.yaml_file import read_yaml, to_yaml

_PLAN = "bench.yaml"
_ESTIMATING = 120.0
"""Seconds after which no further kind of cell is estimated."""
_SHARED = ("experts", "trajectories", "bank of real features")
"""Phases whose results cells share, by the name that an estimate gives them."""


def product(plan: Bench, directory: Path, executor: Executor, command: str) -> list[dict[str, Any]]:
    """Make what is missing of a bench, and write its tables.

    Finished cells and scores are skipped, and interrupted ones go on, so the same command resumes a
    bench. A plan with more values in its lists extends it.

    Args:
        plan: what is compared.
        directory: for the plan, the run directories (``cells``), what the commands print (``logs``)
            the tables (``results.*``) and the figure, if the plan has one (``figure.*``).
        executor: where cells run.
        command: command line that asked for the bench, for the record.

    Returns:
        The records of the results (:func:`dance.bench.outcome.records`).

    Raises:
        DanceError: a name or setting is wrong, or the directory holds another plan, is in use or
            cannot be written. It is raised before anything runs.
        KeyboardInterrupt: it was stopped; the tables hold what is finished.
    """
    cells = plan.cells()
    _check(plan, directory)
    with locked(directory / ".bench", f"making the bench in {directory}", wait=False):
        write_text(directory / _PLAN, to_yaml(plan))
        states = [_state(cell, directory) for cell in cells]
        board = Board(_known(cells, directory), executor.slots)
        try:
            with board.shown():
                execute(states, executor, board.update)
        finally:
            failed = {state.cell.name: state.reason for state in states if state.reason}
            found = outcome.records(outcome.collect(cells, directory), cells, failed)
            outcome.write(plan, found, directory, command)
        if plan.figure:
            figures.make(plan, directory)
    return found


def _state(cell: Cell, directory: Path) -> State:
    left = cell.commands(directory)
    path = directory / LOGS / f"{cell.name}.log"
    return State(cell, cell.place(directory), path, left, "waiting" if left else "done")


def _check(plan: Bench, directory: Path) -> None:
    """Refuse the directory of a plan that this one does not extend."""
    path = directory / _PLAN
    if path.exists():
        try:
            held = build(Bench, read_yaml(path))
        except ConfigError as error:
            raise ConfigError(f"{path} is damaged: {error}; choose another --output") from error
        check_extends(held, plan, path)


def commands(plan: Bench, directory: Path) -> list[list[list[str]]]:
    """The commands that are missing, by cell; any order of cells gives the same results."""
    cells = plan.cells()
    _check(plan, directory)
    return [found for cell in cells if (found := cell.commands(directory))]


def _known(cells: Sequence[Cell], directory: Path) -> dict[tuple[Any, ...], float]:
    """Mean seconds of the finished cells by their kind."""
    seconds: dict[tuple[Any, ...], list[float]] = {}
    for cell in cells:
        path = cell.place(directory) / "costs.json"
        if cell.finished(directory) and path.exists():
            scoring = sum(score.seconds or 0.0 for score in cell.scores(directory))
            total = (build_seconds(read_json(path)) or 0.0) + scoring
            seconds.setdefault(cell.kind, []).append(total)
    return {kind: sum(values) / len(values) for kind, values in seconds.items()}


def dry_run(plan: Bench, directory: Path) -> list[tuple[Cell, str, float | None]]:
    """Each cell with its state, and the estimated seconds that it still takes.

    The seconds are those of a finished cell that differs by the seed only, or measured on a few
    steps of each phase; after two minutes of measuring, those of the other cells are unknown
    (None). Networks and banks that several cells share are counted in the first one.
    """
    cells = plan.cells()
    _check(plan, directory)
    known, started = _known(cells, directory), time.monotonic()
    shared: set[str] = set()
    found: list[tuple[Cell, str, float | None]] = []
    estimates: dict[tuple[Any, ...], Sequence[Mapping[str, Any]]] = {}
    for cell in cells:
        left = cell.commands(directory)
        begun = cell.place(directory).exists()
        state = ("begun" if begun else "to do") if left else "done"
        seconds: float | None = None if left else 0.0
        if left and cell.kind in known:
            seconds = known[cell.kind]
        elif left and (cell.kind in estimates or time.monotonic() - started < _ESTIMATING):
            if cell.kind not in estimates:
                estimates[cell.kind] = _phases(cell)
            if phases := estimates[cell.kind]:
                seconds = _seconds(cell, phases, shared)
        found.append((cell, state, seconds))
    return found


def _phases(cell: Cell) -> Sequence[Mapping[str, Any]]:
    """The phases of a cell with their estimated seconds; none where that is not possible."""
    log(f"estimating {cell.name}")
    try:
        return engine.estimate(cell.config)["phases"]  # type: ignore[no-any-return]
    except DanceError as error:
        log(f"{cell.name} cannot be estimated: {error}")
        return ()


def _seconds(cell: Cell, phases: Sequence[Mapping[str, Any]], shared: set[str]) -> float:
    """The sum of the phases, without those that another cell has."""
    run, total = cell.config, 0.0
    seeds = {"experts": run.experts.seed_in(run.seed)}
    seeds["trajectories"] = run.trajectories.seed_in(run.seed)
    for phase in phases:
        name = phase["name"]
        if name in _SHARED:
            config = to_plain(run) | {"seed": seeds.get(name, run.seed)}
            sections = ["data", "seed", "source", "network", "precision"]
            sections += [name] if name in seeds else ["experts", "options", "method"]
            key = name + digest({section: config[section] for section in sections})
            if key in shared:
                continue
            shared.add(key)
        times = len(cell.scorings) if name.startswith("scoring ") else 1
        total += phase["seconds"] * times
    return total
