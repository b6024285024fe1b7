"""Write the page of a run, of a bench or of a set, as report.html; no network is trained.

A run also gets preview.png, and snapshots.gif if it has snapshots. The page of a single set, such
as zoo:NAME, is written into the folder that --output names.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import report
from dance.cli.options import SET, Parser, add_json
from dance.cli.output import print_json


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance report``."""
    parser.add_argument(
        "run", metavar="DIR|FILE", help=f"directory of a run or of a bench, or a set: {SET}"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder to write, for a run or a set (default: the directory of the run)",
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Write the report and print its path."""
    page = report.build(parsed.run, parsed.output)
    if parsed.json:
        print_json({"report": page})
    else:
        print(page)
