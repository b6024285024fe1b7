"""Write a condensed set as parquet with a dataset card, class folders of PNG, npz or pt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dance import condensed
from dance.cli.evaluate import add_target
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json
from dance.condensed import formats


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance export``."""
    add_target(parser)
    parser.add_argument("destination", metavar="DEST", type=Path, help="folder or file to write")
    names = formats.FORMATS.names()
    option = parser.add_argument(
        "--to", required=True, metavar="{" + ",".join(names) + "}", help="format to write"
    )
    option.candidates = names  # type: ignore[attr-defined]
    parser.add_argument(
        "--stored-images",
        action="store_true",
        help="write the stored images instead of the decoded ones, on which networks are trained",
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Export the set and print the path of the result."""
    source = condensed.load_set(parsed.target)
    written = formats.export(
        source, parsed.to, parsed.destination, stored_images=parsed.stored_images
    )
    if parsed.json:
        print_json(asdict(written))
    else:
        print(written.path)
