"""Estimate time, memory and disk space of a run from a few steps; takes the options of condense."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import print_json, print_table
from dance.core import format


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance estimate``."""
    add_data(parser)
    add_json(parser)
    add_settings(parser, argv)


def run(parsed: argparse.Namespace) -> None:
    """Measure some steps and print the estimate."""
    estimate = engine.estimate(resolved(parsed))
    if parsed.json:
        print_json(estimate)
        return
    rows = [
        (
            phase["name"],
            str(phase["steps"]),
            format.seconds(phase["seconds_per_step"]),
            format.seconds(phase["seconds"]),
        )
        for phase in estimate["phases"]
    ]
    rows.append(("total", "", "", format.seconds(estimate["seconds"])))
    print_table(("phase", ">steps", ">per step", ">time"), rows)
    print(f"memory: {format.plain(format.size(estimate['peak_memory_bytes']))} at the peak")
    print(f"disk:   {format.plain(format.size(estimate['disk_bytes']))}")
    print(f"measured: {estimate['measured']}")
