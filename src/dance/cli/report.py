"""Write the report of a run again, as report.html and preview.png; no network is trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import report
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance report``."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Write the report and print its path."""
    page = report.build(parsed.run)
    if parsed.json:
        print_json({"report": page})
    else:
        print(page)
