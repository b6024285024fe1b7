"""Write experts and mean features of real images into one file, to condense without the images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dance import engine
from dance.cli.options import Parser, add_data, add_json, add_settings, resolved
from dance.cli.output import print_json
from dance.core import format
from dance.core.config import merge, nested
from dance.core.world import join
from dance.methods import METHODS, Banked
from dance.recipes.resolve import method_of

_SECTIONS = (
    "method", "seed", "device", "precision", "memory_limit", "source", "network", "experts",
    "options",
)  # fmt: skip


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance bank``."""
    add_data(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="file to write, ending in .safetensors; give it to dance condense as DATA",
    )
    add_json(parser)
    add_settings(parser, argv, _SECTIONS)


def run(parsed: argparse.Namespace) -> None:
    """Write the file and print what it contains."""
    settings = nested(parsed.settings)
    method = METHODS.get(method_of(settings.get("method"), parsed.config))
    if issubclass(method, Banked):
        settings = merge({"options": method.bank_options}, settings)
    written = engine.bank(resolved(parsed, settings), parsed.output)
    if not join().is_rank_zero:
        return
    if parsed.json:
        print_json(written)
        return
    print(
        f"{written['path']}: {format.plural(written['experts'], 'expert')} and "
        f"{format.plural(written['entries'], 'mean feature')} of length {written['features']} for "
        f"each of {written['classes']} classes, "
        f"{format.plain(format.size(written['bytes']))}, in "
        f"{format.plain(format.seconds(written['seconds']))}"
    )
    print("The file contains no image, but its features and weights are statistics of the images.")
