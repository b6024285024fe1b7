"""Time, memory and disk of a run, from a few measured steps; takes the options of condense."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import amount, moment, print_json, print_table


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    add_data(parser)
    add_json(parser)
    add_settings(parser, words)


def run(parsed: argparse.Namespace) -> None:
    """Measure and print."""
    found = engine.estimate(resolved(parsed))
    if parsed.json:
        print_json(found)
        return
    rows = [
        (
            str(phase["name"]),
            str(phase["steps"]),
            moment(phase["seconds_per_step"]),
            moment(phase["seconds"]),
        )
        for phase in found["phases"]
    ]
    rows.append(("in all", "", "", moment(found["seconds"])))
    print_table(("phase", ">steps", ">a step", ">time"), rows)
    print(f"memory: {amount(found['peak_memory_bytes'])} at the peak")
    print(f"disk:   {amount(found['disk_bytes'])}")
    print(f"measured: {found['measured']}")
