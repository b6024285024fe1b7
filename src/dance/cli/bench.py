"""Measure on this machine.

`dance bench speed` times steps, training and memory; `dance bench methods` condenses and scores
with every method under one budget.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from dance.bench import MethodsConfig, SpeedConfig, methods, page, results_table, speed
from dance.cli.options import Parser, add_json, add_settings
from dance.cli.output import print_json, print_table
from dance.core.config import nested
from dance.core.errors import ConfigError, nearest

_EVERYWHERE = ("seed", "device", "precision", "source", "network")
_SECTIONS = {
    "speed": _EVERYWHERE,
    "methods": (*_EVERYWHERE, "networks", "experts", "trajectories", "evaluation"),
}
"""Sections of the configuration that each benchmark accepts as options."""
_OUTPUT = Path("runs/bench")
_ONLY: Mapping[str, str] = {
    "rounds": "speed",
    "seconds": "methods",
    "updates": "methods",
    "config": "methods",
}
"""Options that only one of the benchmarks has."""


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance bench``."""
    what = parser.add_argument(
        "what", metavar="WHAT", help=f"benchmark to run: {', '.join(_SECTIONS)}"
    )
    what.candidates = list(_SECTIONS)  # type: ignore[attr-defined]
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
        help="methods only: settings to start from, as for condense (default: "
        f"{MethodsConfig.base})",
    )
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
        default=_OUTPUT,
        help="directory for the tables, as JSON and Markdown, and for the runs (default: "
        "%(default)s)",
    )
    add_json(parser)
    benchmark = next((argument for argument in argv if argument in _SECTIONS), "methods")
    add_settings(parser, argv, _SECTIONS[benchmark])


def run(parsed: argparse.Namespace) -> None:
    """Measure, store the results and print the tables."""
    if parsed.what not in _SECTIONS:
        raise ConfigError(f"cannot measure {parsed.what!r}{nearest(parsed.what, _SECTIONS)}")
    for name, only in _ONLY.items():
        if getattr(parsed, name) is not None and only != parsed.what:
            raise ConfigError(f"--{name} is an option of dance bench {only}, not of {parsed.what}")
    if parsed.threads is not None:
        if parsed.threads < 1:
            raise ConfigError(f"threads must be at least 1: got {parsed.threads}")
        torch.set_num_threads(parsed.threads)
    measure: Callable[[argparse.Namespace], None] = _speed if parsed.what == "speed" else _methods
    measure(parsed)


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
