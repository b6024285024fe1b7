"""Compare runs or sets: settings that differ, scores with intervals, images, and costs.

Scores stand in one table only if data, network, protocol, kind of labels and stored bytes per class
are the same. Differences are to the first run of a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dance import report
from dance.cli.options import SET, Parser, add_json
from dance.cli.output import print_json, print_table
from dance.condensed.statistics import Difference
from dance.report.compare import Comparison, compare


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance compare``."""
    parser.add_argument(
        "runs", metavar="RUN|FILE", nargs="+", help=f"run directories, or sets: {SET}"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder in which compare.html, compare.csv and compare.tex are written (default: none "
        "is written)",
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Compare, print the tables, and write the files."""
    found = compare(parsed.runs)
    written = report.write_comparison(found, parsed.output) if parsed.output else []
    if parsed.json:
        print_json(_plain(found) | {"files": written})
        return
    for table in found.shown():
        print_table(table.columns, table.rows, table.title)
        if table.note:
            print(table.note)
    for path in written:
        print(path)


def _gap(gap: Difference) -> dict[str, float | None]:
    """The plain values of a difference, without an interval if there is none."""
    ends = {} if gap.interval else {"low": None, "high": None}
    return asdict(gap) | ends


def _plain(found: Comparison) -> dict[str, object]:
    return {
        "runs": {name: run.place for name, run in found.runs.items()},
        "settings": dict(found.settings),
        "costs": dict(found.costs),
        "tables": [
            {
                "title": table.title,
                "rows": [
                    {
                        "run": row.run,
                        "score": row.score.to_plain(),
                        "difference": row.gap and _gap(row.gap),
                        "verdict": row.verdict,
                    }
                    for row in table.rows
                ],
            }
            for table in found.tables
        ],
    }
