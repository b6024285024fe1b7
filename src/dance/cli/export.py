"""Write a condensed set as parquet with a dataset card, class folders of PNG, npz or pt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dance import condensed
from dance.cli.evaluate import add_target, condensed_file
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json
from dance.condensed import formats


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    add_target(parser)
    parser.add_argument("destination", metavar="DEST", type=Path, help="folder or file to make")
    kinds = formats.FORMATS.names()
    form = parser.add_argument(
        "--to", required=True, metavar="{" + ",".join(kinds) + "}", help="format"
    )
    form.candidates = kinds  # type: ignore[attr-defined]
    parser.add_argument(
        "--stored-images",
        action="store_true",
        help="write the stored images, not the decoded ones that networks are trained on",
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Do it and print where it is."""
    source = condensed.load_set(condensed_file(parsed.target))
    done = formats.export(source, parsed.to, parsed.destination, stored_images=parsed.stored_images)
    if parsed.json:
        print_json(asdict(done))
    else:
        print(done.path)
