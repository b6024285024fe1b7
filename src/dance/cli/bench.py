"""Measure on this machine, or make a table of many runs.

`dance bench speed` times steps, training and memory; `dance bench methods` condenses and scores
with every method under one budget; `dance bench FILE.yaml` makes every combination of data sets,
methods, images per class, seeds and settings that a plan names, and its tables.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dance.bench import (
    MethodsConfig,
    SpeedConfig,
    figures,
    methods,
    outcome,
    page,
    results_table,
    speed,
)
from dance.bench.execute import Executor, Local, Slurm
from dance.bench.plan import Bench, names, read_plan
from dance.bench.product import commands, dry_run, product
from dance.cli.options import Parser, add_json, add_settings
from dance.cli.output import print_json, print_table
from dance.core.config import nested
from dance.core.errors import ConfigError, nearest
from dance.core.format import plain, plural, seconds
from dance.core.yaml_file import from_yaml

_EVERYWHERE = ("seed", "device", "precision", "source", "network")
_SECTIONS = {
    "speed": _EVERYWHERE,
    "methods": (*_EVERYWHERE, "networks", "experts", "trajectories", "evaluation"),
}
"""Sections of the configuration that each benchmark accepts as options."""
_OUTPUT = Path("runs/bench")
_PLAN = "FILE.yaml"
_ONLY: Mapping[str, tuple[str, ...]] = {
    "rounds": ("speed",),
    "seconds": ("methods",),
    "updates": ("methods",),
    "config": ("methods", _PLAN),
    **dict.fromkeys(("seeds", "axis", "quick", "jobs", "slurm", "dry_run", "print"), (_PLAN,)),
}
"""Options that not all benchmarks have."""


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance bench``."""
    what = parser.add_argument(
        "what",
        metavar="WHAT",
        help=f"benchmark to run: {', '.join(_SECTIONS)}, the plan {', '.join(names())}, or a YAML "
        "file with a plan",
    )
    what.candidates = [*_SECTIONS, *names()]  # type: ignore[attr-defined]
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        help="names or paths of data sets, as for condense (default of speed: digits, and cifar10 "
        "and cifar100 if they are found)",
    )
    parser.add_argument(
        "--ipc",
        metavar="N",
        type=int,
        nargs="+",
        help=f"images per class (default of speed: {_spaced(SpeedConfig.ipc)}, of methods: "
        f"{_spaced(MethodsConfig.ipc)})",
    )
    parser.add_argument(
        "--methods",
        metavar="NAME",
        nargs="*",
        help="methods to measure (default of methods: all; of speed: all that optimise stored "
        "images, in addition to DANCE)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        help="speed only: number of rounds, in each of which all entries take turns, after a "
        f"warm-up round (default: {SpeedConfig.rounds})",
    )
    parser.add_argument(
        "--seconds",
        metavar="X",
        type=float,
        help="methods only: condensation time of each method in seconds, without the training of "
        "experts",
    )
    parser.add_argument(
        "--updates",
        metavar="N",
        type=int,
        help="methods only: number of updates of the images by each method, instead of --seconds",
    )
    parser.add_argument(
        "--config",
        metavar="WHAT",
        help="methods and plans only: settings to start from, as for condense (default of methods: "
        f"{MethodsConfig.base})",
    )
    _add_plan_arguments(parser)
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        help="number of threads of PyTorch (default: chosen by PyTorch)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help=f"directory for the tables and the runs (default: {_OUTPUT}, of a plan: "
        f"{_OUTPUT}/NAME)",
    )
    add_json(parser)
    benchmark = next((argument for argument in argv if argument in _SECTIONS), "methods")
    add_settings(parser, argv, _SECTIONS[benchmark])


def _add_plan_arguments(parser: Parser) -> None:
    plan = parser.add_argument_group(
        "plans", "DATA, --ipc, --methods and settings replace those of the plan."
    )
    plan.add_argument(
        "--seeds", metavar="N", type=int, nargs="+", help="seeds of the condensations"
    )
    plan.add_argument(
        "--axis",
        metavar="NAME=X,Y",
        action="append",
        help="values of a setting to try, such as options.learning_rate=0.003,0.01",
    )
    for option, text in (
        ("--quick", "use the part quick of the plan: minutes on two cores"),
        ("--dry-run", "print the cells with their settings and estimated time, and exit"),
        ("--print", "print the missing commands, one line for each cell, to run them elsewhere"),
    ):
        plan.add_argument(option, action="store_true", default=None, help=text)
    plan.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        help="cells at once (default: one for each GPU, else for each two cores; of SLURM: 64)",
    )
    plan.add_argument(
        "--slurm",
        metavar="NAME=X",
        nargs="*",
        help="submit the cells to SLURM with parameters of submitit, such as timeout_min=600 "
        "slurm_partition=gpu",
    )


def run(parsed: argparse.Namespace) -> int:
    """Measure, store the results and print the tables.

    Returns:
        1 if a cell of a plan failed, else 0.
    """
    is_plan = parsed.what in names() or Path(parsed.what).suffix in (".yaml", ".yml")
    kind = _PLAN if is_plan else parsed.what
    if kind not in (*_SECTIONS, _PLAN):
        raise ConfigError(
            f"cannot measure {parsed.what!r}{nearest(parsed.what, [*_SECTIONS, *names()])}"
        )
    for name, only in _ONLY.items():
        if getattr(parsed, name) is not None and kind not in only:
            option = name.replace("_", "-")
            raise ConfigError(
                f"--{option} is an option of dance bench {' and '.join(only)}, not of {parsed.what}"
            )
    if kind == _PLAN:
        return _plan(parsed)
    parsed.output = parsed.output or _OUTPUT
    if parsed.threads is not None:
        if parsed.threads < 1:
            raise ConfigError(f"threads must be at least 1: got {parsed.threads}")
        torch.set_num_threads(parsed.threads)
    measure: Callable[[argparse.Namespace], None] = _speed if parsed.what == "speed" else _methods
    measure(parsed)
    return 0


def _plan(parsed: argparse.Namespace) -> int:
    plan = read_plan(parsed.what, _changes(parsed), quick=bool(parsed.quick))
    directory = parsed.output or _OUTPUT / Path(parsed.what).stem
    if parsed.dry_run:
        _print_dry_run(plan, directory, parsed.json)
        return 0
    if parsed.print:
        for lines in commands(plan, directory):
            print(" && ".join(shlex.join(["dance", *words]) for words in lines))
        return 0
    executor: Executor = (
        Local(parsed.jobs, parsed.threads)
        if parsed.slurm is None
        else Slurm(directory / "slurm", dict(map(_pair, parsed.slurm)), parsed.jobs)
    )
    found = product(plan, directory, executor, shlex.join(parsed.command))
    if parsed.json:
        print_json({"directory": directory, "rows": found})
    else:
        for line in filter(None, outcome.budget_lines(plan)):
            print(line)
        for table in outcome.tables(found, brief=True):
            print_table(table.columns, table.rows, table.title)
        print(f"in: {directory / outcome.NAME}.md, .csv, .parquet, .tex and .json")
        if plan.figure:
            print(f"figure: {directory / figures.NAME}.svg, .png, .csv and .parquet")
    return int(any(row["status"] == "failed" for row in found))


def _changes(parsed: argparse.Namespace) -> dict[str, Any]:
    """What the command line changes in the plan, as plain values of it."""
    changes: dict[str, Any] = {
        "data": parsed.data,
        "ipc": parsed.ipc,
        "methods": parsed.methods,
        "seeds": parsed.seeds,
        "config": parsed.config,
    }
    settings = dict(parsed.settings)
    changes["networks"] = settings.pop("networks", None)
    if (seed := settings.pop("seed", None)) is not None:
        raise ConfigError(f"the seeds of a plan are a list: use --seeds {seed} instead of --seed")
    if protocol := settings.pop("evaluation.protocol", None):
        changes["protocols"] = [protocol]
    changes["axes"] = {
        name: from_yaml(f"values: [{values}]", f"--axis {name}")["values"]
        for name, values in map(_pair, parsed.axis or ())
    }
    changes["settings"] = nested(settings)
    return {name: value for name, value in changes.items() if value}


def _pair(text: str) -> tuple[str, Any]:
    """``NAME=X`` as a name and a plain value, or its text if it holds a comma."""
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ConfigError(f"a setting must be NAME=X: got {text!r}")
    return name, value if "," in value else from_yaml(f"value: {value}", name)["value"]


def _print_dry_run(plan: Bench, directory: Path, as_json: bool) -> None:
    found = dry_run(plan, directory)
    known = [left for *_, left in found if left is not None]
    unknown = len(found) - len(known)
    rows = [
        (cell.name, "; ".join(filter(None, (cell.point_text, cell.budget))), state, left)
        for cell, state, left in found
    ]
    if as_json:
        names_of_columns = ("cell", "settings", "state", "seconds")
        cells = [dict(zip(names_of_columns, row, strict=True)) for row in rows]
        print_json({"cells": cells, "seconds": sum(known), "unknown": unknown})
        return
    for line in filter(None, outcome.budget_lines(plan)):
        print(line)
    shown = [
        (name, what, state, "unknown" if left is None else f"{left / 3600:.2f}")
        for name, what, state, left in rows
    ]
    print_table(("cell", "settings", "state", ">hours"), shown)
    more = f", and {plural(unknown, 'cell')} of unknown time" if unknown else ""
    more += f", and figure {plan.figure}, whose time is not estimated" if plan.figure else ""
    total = plain(f"{plural(len(rows), 'cell')}: about {seconds(sum(known))}")
    print(f"{total} of computing, one after the other{more}")


def _speed(parsed: argparse.Namespace) -> None:
    config = SpeedConfig(
        data=tuple(parsed.data),
        ipc=SpeedConfig.ipc if parsed.ipc is None else tuple(parsed.ipc),
        methods=_names(parsed),
        rounds=SpeedConfig.rounds if parsed.rounds is None else parsed.rounds,
        settings=nested(parsed.settings),
        command=shlex.join(parsed.command),
    )
    record = speed(config, parsed.output)
    if parsed.json:
        print_json(record)
        return
    for table in page.tables(record, page.median):
        print_table(table.columns, table.rows, table.title)
    print(f"ceilings: {page.ceilings(record)}")
    print(f"in: {parsed.output / 'speed.json'} and speed.md")


def _methods(parsed: argparse.Namespace) -> None:
    config = MethodsConfig(
        data=tuple(parsed.data),
        ipc=MethodsConfig.ipc if parsed.ipc is None else tuple(parsed.ipc),
        methods=_names(parsed),
        seconds=parsed.seconds,
        updates=parsed.updates,
        base=parsed.config or MethodsConfig.base,
        settings=nested(parsed.settings),
        command=shlex.join(parsed.command),
    )
    record = methods(config, parsed.output)
    if parsed.json:
        print_json(record)
        return
    for table in results_table.tables(record, brief=True):
        print_table(table.columns, table.rows, table.title)
    for skip in record["skipped"]:
        print(f"left out: {skip['method']}, {skip['data']}, ipc {skip['ipc']}: {skip['reason']}")
    print(f"in: {parsed.output / 'methods.json'} and methods.md")


def _names(parsed: argparse.Namespace) -> tuple[str, ...] | None:
    return None if parsed.methods is None else tuple(parsed.methods)


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
