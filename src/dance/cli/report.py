"""Write the page of a run or of a bench, as report.html in its directory; no network is trained.

A run also gets preview.png, and snapshots.gif if it has snapshots.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import report
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance report``."""
    parser.add_argument("run", metavar="DIR", type=Path, help="directory of a run or of a bench")
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Write the report and print its path."""
    page = report.build(parsed.run)
    if parsed.json:
        print_json({"report": page})
    else:
        print(page)
