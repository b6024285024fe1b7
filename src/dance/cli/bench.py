"""Measure the library: `dance bench speed` times steps, training and memory on this machine."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from dance.bench import SpeedConfig, page, speed
from dance.cli.options import Parser, add_json, add_settings
from dance.cli.output import print_json, print_table
from dance.core.config import nested
from dance.core.errors import ConfigError, nearest

_WHAT = ("speed",)
_SECTIONS = ("seed", "device", "precision", "source", "network")
_OUTPUT = Path("runs/bench")


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    what = parser.add_argument("what", metavar="WHAT", help=f"what to measure: {', '.join(_WHAT)}")
    what.candidates = list(_WHAT)  # type: ignore[attr-defined]
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        help="names or paths as condense takes them (default: digits, and cifar10 and cifar100 "
        "where found)",
    )
    shown = " ".join(map(str, SpeedConfig.ipc))
    parser.add_argument(
        "--ipc",
        metavar="N",
        type=int,
        nargs="+",
        default=list(SpeedConfig.ipc),
        help=f"images per class (default {shown})",
    )
    parser.add_argument(
        "--methods",
        metavar="NAME",
        nargs="*",
        help="methods that take part beside DANCE (default: all that optimise canvases)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        default=SpeedConfig.rounds,
        help="rounds in which all take turns, after one to warm up (default %(default)s)",
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help="threads of PyTorch (default: its own choice)"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=_OUTPUT,
        help="where speed.json and speed.md go (default %(default)s)",
    )
    add_json(parser)
    add_settings(parser, words, _SECTIONS)


def run(parsed: argparse.Namespace) -> None:
    """Measure, keep and print."""
    if parsed.what not in _WHAT:
        raise ConfigError(f"cannot measure {parsed.what!r}{nearest(parsed.what, _WHAT)}")
    if parsed.threads is not None:
        if parsed.threads < 1:
            raise ConfigError(f"threads must be at least 1: got {parsed.threads}")
        torch.set_num_threads(parsed.threads)
    config = SpeedConfig(
        data=tuple(parsed.data),
        ipc=tuple(parsed.ipc),
        methods=None if parsed.methods is None else tuple(parsed.methods),
        rounds=parsed.rounds,
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
