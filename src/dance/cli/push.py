"""Publish a condensed set on the Hugging Face hub, as a data set with a card.

The repository gets the set, its images as parquet, a card with scores and commands, and a picture.
Others then name the set as hf:owner/name in all commands, and open its images with the library
datasets. The token is that of HF_TOKEN or of a login (hf auth login).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dance import publish
from dance.cli.evaluate import add_target
from dance.cli.options import Parser, add_json
from dance.cli.output import print_json
from dance.core import hub
from dance.core.errors import ConfigError
from dance.core.libraries import need_library


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance push``."""
    add_target(parser)
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository of the hub")
    licence = parser.add_argument(
        "--license",
        metavar="ID",
        help="licence of the images that were condensed, as the hub names it, such as cc-by-4.0 "
        "(default: that of the known data set, and required for others)",
    )
    licence.candidates = publish.LICENCES  # type: ignore[attr-defined]
    parser.add_argument(
        "--private", action="store_true", help="make the repository private, if it is new"
    )
    parser.add_argument(
        "--revision",
        metavar="BRANCH",
        help="branch that gets the set, which is made if it is new (default: main)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write the folder that would be uploaded to --output, and contact nothing",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder that --dry-run writes, which must be empty or new",
    )
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Write the folder, upload it, and print where the set lies.

    Raises:
        ConfigError: only one of ``--dry-run`` and ``--output`` is given.
    """
    if parsed.dry_run != (parsed.output is not None):
        raise ConfigError(
            "--dry-run and --output DIR must be given together: got "
            f"{'--dry-run' if parsed.dry_run else '--output'} alone; add the other one"
        )
    if parsed.dry_run:
        publish.write(parsed.target, parsed.repository, parsed.license, parsed.output)
        if parsed.json:
            print_json({"folder": parsed.output})
        else:
            print(parsed.output)
        return
    need_library("huggingface_hub", "hf", "dance push")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "set"
        publish.write(parsed.target, parsed.repository, parsed.license, folder)
        location = publish.upload(
            folder, parsed.repository, private=parsed.private, revision=parsed.revision
        )
    page = f"{hub.endpoint()}/datasets/{parsed.repository}"
    if parsed.json:
        print_json({"set": location, "page": page})
        return
    print(f"{'set:':<10} {location}")
    print(f"{'page:':<10} {page}")
