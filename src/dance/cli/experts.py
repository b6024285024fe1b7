"""Train the experts that condensing needs, and store them for all runs that need the same ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import print_json, print_table
from dance.core import format
from dance.core.world import join

_SECTIONS = ("seed", "device", "precision", "source", "network", "experts")
_SHORT = {"experts.count": "-n", "experts.epochs": "--epochs"}


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance experts``."""
    add_data(parser)
    add_json(parser)
    add_settings(parser, argv, _SECTIONS, _SHORT)


def run(parsed: argparse.Namespace) -> None:
    """Train the experts that are missing, and print a table of all."""
    experts = engine.experts(resolved(parsed))
    if not join().is_rank_zero:
        return
    if parsed.json:
        print_json({"experts": experts})
        return
    rows = [
        (
            str(expert["index"]),
            f"{100 * expert['train_accuracy']:.1f}",
            f"{100 * expert['test_accuracy']:.1f}",
            str(expert["epochs"]),
            format.seconds(expert["seconds"]),
            "now" if expert["trained_now"] else "before",
        )
        for expert in experts
    ]
    print_table((">expert", ">train %", ">test %", ">epochs", ">time", "trained"), rows)
    if experts:
        print(f"in: {experts[0]['path']}")
