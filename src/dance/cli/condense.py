"""Condense a data set, score the result and write its report; the same command again goes on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import print_json, print_scores
from dance.core.files import read_json
from dance.core.world import join


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    add_data(parser)
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="run directory (default runs/ID, where ID follows from the settings)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="only go on with a run that is there, and refuse to begin one (without it, a run that "
        "is there is gone on with and a new one begun)",
    )
    parser.add_argument(
        "--snapshots",
        metavar="STEP",
        nargs="+",
        default=(),
        help="steps after which the set is stored as it then is, as snapshots/STEP.safetensors of "
        "the run: numbers, or every:N for each multiple of N; they do not change the result, and "
        "dance evaluate scores them",
    )
    add_json(parser)
    add_settings(parser, words)


def run(parsed: argparse.Namespace) -> None:
    """Do it and print what came out."""
    from dance import report  # draws with matplotlib, which is slow to import

    config = resolved(parsed)
    place = engine.run(
        config,
        parsed.output,
        command=parsed.command,
        resume=parsed.resume,
        snapshots=parsed.snapshots,
    )
    if not join().is_rank_zero:
        return
    page = report.build(place)
    scores = read_json(place / "scores.json")
    files = {"run": place, "condensed": place / "condensed.safetensors", "report": page}
    if parsed.json:
        print_json({**files, "scores": scores})
        return
    print_scores(scores)
    for name, path in files.items():
        print(f"{name + ':':<10} {path}")
