"""Write experts and mean features of real images into one file, to condense without the images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import amount, moment, print_json
from dance.core.config import merge, nested
from dance.core.world import join

_SECTIONS = (
    "method", "seed", "device", "precision", "memory_limit", "source", "network", "experts",
    "options",
)  # fmt: skip
_BANK = {"options": {"real_targets": "bank"}}


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    add_data(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="file to write, ending in .safetensors; give it to dance condense as DATA",
    )
    add_json(parser)
    add_settings(parser, words, _SECTIONS)


def run(parsed: argparse.Namespace) -> None:
    """Do it and print what is in the file."""
    asked = merge(_BANK, nested(parsed.settings))
    done = engine.bank(resolved(parsed, asked), parsed.output)
    if not join().is_rank_zero:
        return
    if parsed.json:
        print_json(done)
        return
    print(
        f"{done['path']}: {done['experts']} experts and {done['entries']} mean features of length "
        f"{done['features']} for each of {done['classes']} classes, {amount(done['bytes'])}, in "
        f"{moment(done['seconds'])}"
    )
    print("It holds no image; features and weights are statistics of the images all the same.")
