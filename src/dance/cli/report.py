"""Write the page of a run again: report.html and preview.png; nothing is trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import report
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Do it and print where the page is."""
    page = report.build(parsed.run)
    if parsed.json:
        print_json({"report": page})
    else:
        print(page)
