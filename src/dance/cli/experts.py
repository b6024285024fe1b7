"""Train the networks that condensing needs, to share them over runs; finished ones are kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dance import engine
from dance.cli.options import SHORT, Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import moment, print_json, print_table
from dance.core.world import join

_SECTIONS = ("seed", "device", "precision", "source", "network", "experts")
_SHORT = {**SHORT, "experts.count": "-n", "experts.epochs": "--epochs"}


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    add_data(parser)
    add_json(parser)
    add_settings(parser, words, _SECTIONS, _SHORT)


def run(parsed: argparse.Namespace) -> None:
    """Do it and print what there is now."""
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
            moment(expert["seconds"]),
            "now" if expert["trained_now"] else "before",
        )
        for expert in experts
    ]
    print_table((">expert", ">train %", ">test %", ">epochs", ">time", "trained"), rows)
    if experts:
        print(f"in: {experts[0]['path']}")
