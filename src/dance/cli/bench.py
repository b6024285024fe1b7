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
"""Settings that a measurement takes."""
_OUTPUT = Path("runs/bench")
_ONLY: Mapping[str, str] = {
    "rounds": "speed",
    "seconds": "methods",
    "updates": "methods",
    "config": "methods",
}
"""Options of one measurement, which are none of the others."""


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    what = parser.add_argument(
        "what", metavar="WHAT", help=f"what to measure: {', '.join(_SECTIONS)}"
    )
    what.candidates = list(_SECTIONS)  # type: ignore[attr-defined]
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        help="names or paths as condense takes them (default of speed: digits, and cifar10 and "
        "cifar100 where found)",
    )
    parser.add_argument(
        "--ipc",
        metavar="N",
        type=int,
        nargs="+",
        help=f"images per class (default of speed {_words(SpeedConfig.ipc)}, of methods "
        f"{_words(MethodsConfig.ipc)})",
    )
    parser.add_argument(
        "--methods",
        metavar="NAME",
        nargs="*",
        help="methods that take part (default: all; of speed: beside DANCE, those that optimise "
        "stored images)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        help="of speed: rounds in which all take turns, after one to warm up "
        f"(default {SpeedConfig.rounds})",
    )
    parser.add_argument(
        "--seconds",
        metavar="X",
        type=float,
        help="of methods: seconds that each may condense, beside training experts",
    )
    parser.add_argument(
        "--updates",
        metavar="N",
        type=int,
        help="of methods: steps of the images that each may make, instead of --seconds",
    )
    parser.add_argument(
        "--config",
        metavar="WHAT",
        help=f"of methods: settings to start from, as for condense (default {MethodsConfig.base})",
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help="threads of PyTorch (default: its own choice)"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=_OUTPUT,
        help="where the tables go, as JSON and Markdown, and runs (default %(default)s)",
    )
    add_json(parser)
    chosen = next((word for word in words if word in _SECTIONS), "methods")
    add_settings(parser, words, _SECTIONS[chosen])


def run(parsed: argparse.Namespace) -> None:
    """Measure, keep and print."""
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
    for table in page.tables(record, page.middle):
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


def _words(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
