"""Estimate time, memory and disk space of a run from a few steps; takes the options of condense."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import print_json, print_table
from dance.core import format
from dance.engine.cost import busy


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
            format.seconds(phase["seconds_per_step"]) if phase["steps"] else "",
            format.seconds(phase["seconds"]) if phase["steps"] else "",
            phase["cached"],
        )
        for phase in estimate["phases"]
    ]
    rows.append(("total", "", "", format.seconds(estimate["seconds"]), ""))
    cached = any(phase["cached"] for phase in estimate["phases"])
    columns = ("phase", ">steps", ">per step", ">time", "<in the cache")
    used = len(columns) if cached else len(columns) - 1
    print_table(columns[:used], [row[:used] for row in rows])
    print(f"memory: {format.plain(format.size(estimate['peak_memory_bytes']))} at the peak")
    print(f"disk:   {format.plain(format.size(estimate['disk_bytes']))}")
    print(f"measured: {estimate['measured']}")
    if warning := busy(estimate):
        print(format.plain(warning))
