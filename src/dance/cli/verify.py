"""Verify a stored score: train new networks on the set, and compare their mean with the stored one.

The exit code is 0 if all scores hold, 1 if one does not, and 2 if they cannot be verified. A score
holds if its set is the one that was scored, and if the 99 % interval of the difference of the two
means contains zero. Nothing is stored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from dance.cli.evaluate import add_target
from dance.cli.options import Parser, SettingAction, add_json
from dance.cli.output import print_json, print_table
from dance.core.config import nested
from dance.engine.verify import LEVEL, Verification, verify


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance verify``."""
    add_target(parser)
    parser.add_argument(
        "--networks",
        nargs="+",
        default=(),
        metavar="NAME",
        help="networks whose scores are verified (default: that of the first score)",
    )
    for name, metavar, kind, text in (
        ("repeats", "N", int, "number of new networks (default: as many as the score has)"),
        ("seed", "N", int, "seed of the new networks (default: 0)"),
        ("data", "DATA", str, "real images (default: those with which the set was made)"),
        ("device", "DEVICE", str, "auto, cpu, cuda or cuda:N (default: auto)"),
    ):
        parser.add_argument(
            f"--{name}", metavar=metavar, action=SettingAction, kind=kind, help=text
        )
    add_json(parser)


def run(parsed: argparse.Namespace) -> int:
    """Verify, and print what was found."""
    found = verify(parsed.target, networks=parsed.networks, **nested(parsed.settings))
    if parsed.json:
        print_json({"verified": [_plain(row) for row in found]})
    else:
        _print(found)
    return 0 if all(row.holds for row in found) else 1


def _plain(row: Verification) -> dict[str, object]:
    return {
        "holds": row.holds,
        "stored": row.stored.to_plain(),
        "again": None if row.again is None else row.again.to_plain(),
        "difference": None if row.difference is None else asdict(row.difference),
    }


def _print(found: Sequence[Verification]) -> None:
    cells = []
    for row in found:
        stored = str(row.stored.last)
        again, gap = "", "another set was scored"
        if row.again is not None and row.difference is not None:
            again = str(row.again.last)
            low, high = 100 * row.difference.low, 100 * row.difference.high
            gap = f"{100 * row.difference.mean:+.1f} ({low:+.1f} to {high:+.1f})"
        verdict = "holds" if row.holds else "FAILS"
        cells.append((row.stored.network, row.stored.setting, stored, again, gap, verdict))
    columns = ("network", "<protocol", ">stored %", ">again %", ">difference, points", "<verdict")
    print_table(columns, cells)
    print(
        f"Last epochs; with the {LEVEL:.0%} interval of the difference (Welch), which must contain "
        "zero."
    )
    if not all(row.holds for row in found):
        print(
            "A score that fails is of other pixels, other training, other data, or of another "
            "version of the library; its set must be scored again."
        )
