"""Write a condensed set in a form that other programs read.

parquet (with a dataset card) and folder (class folders of PNG) round pixels to 8 bits; npz and pt
hold them exactly, with all that a network needs. dc, idc and mtt are what the programs of these
methods load, ddranking what DD-Ranking's evaluator loads, and indices the rows of the training
images of which a selection consists. docs/interop.md describes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dance import condensed
from dance.cli.evaluate import add_target
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json, print_table
from dance.condensed import Score, formats
from dance.core.errors import ConfigError
from dance.engine.verify import rescore


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
    parser.add_argument(
        "--rescore",
        action="store_true",
        help="if pixels are rounded to 8 bits, also score the rounded set as the stored scores "
        "were made, and print both",
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Export the set, print the path of the result, and score it if that is asked for.

    Raises:
        ConfigError: the format is exact, so that there is nothing to score.
    """
    file = condensed.locate(parsed.target)
    source = condensed.load_set(file)
    format_ = formats.FORMATS.get(parsed.to)
    if parsed.rescore and not format_.eight_bit:
        raise ConfigError(
            f"--rescore is for formats of 8 bits: {parsed.to} does not round to them; leave it out"
        )
    written = formats.export(
        source, parsed.to, parsed.destination, stored_images=parsed.stored_images
    )
    pairs = []
    if parsed.rescore:
        pairs = rescore(file, formats.rounded(source, parsed.to, parsed.stored_images))
    if parsed.json:
        plain = [
            {"stored": stored.to_plain(), "exported": exported.to_plain()}
            for stored, exported in pairs
        ]
        print_json({**asdict(written), **({"rescored": plain} if parsed.rescore else {})})
        return
    print(written.path)
    if pairs:
        columns = ("network", "<protocol", ">stored %", ">exported %", ">difference, points")
        print_table(columns, [_cells(*pair) for pair in pairs])


def _cells(stored: Score, exported: Score) -> tuple[str, ...]:
    change = 100 * (exported.last.mean - stored.last.mean)
    return stored.network, stored.setting, str(stored.last), str(exported.last), f"{change:+.2f}"
