"""Score a run or a condensed file again; the scores are kept beside the set and inside its file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dance import condensed, engine
from dance.cli.options import Parser, SettingAction, add_json, add_settings
from dance.cli.output import print_json, print_scores
from dance.core.config import merge, nested
from dance.core.world import join
from dance.engine.rules import check
from dance.recipes import build_run

_SECTIONS = (
    "networks", "labels", "seed", "device", "precision", "source", "evaluation", "teacher",
)  # fmt: skip
FILE = "condensed.safetensors"
"""Name of the result in a run directory."""


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    add_target(parser)
    parser.add_argument(
        "--data",
        metavar="DATA",
        action=SettingAction,
        kind=str,
        help="where the real images are now (default: where they were when the set was made)",
    )
    add_json(parser)
    add_settings(parser, words, _SECTIONS)


def add_target(parser: Parser) -> None:
    """RUN|FILE: what was condensed."""
    parser.add_argument("target", metavar="RUN|FILE", help="run directory or condensed.safetensors")


def condensed_file(target: str) -> Path:
    """The condensed set that a run directory or a file name means."""
    path = Path(target)
    return path / FILE if path.is_dir() else path


def run(parsed: argparse.Namespace) -> None:
    """Do it and print the new scores."""
    given = nested(parsed.settings)
    recorded = condensed.load_set(condensed_file(parsed.target)).provenance
    config = build_run(merge(_defaults(recorded, given), given))
    check(config)
    scores = engine.evaluate(
        Path(parsed.target),
        config.evaluation,
        config.networks,
        source=config.source,
        seed=config.seed,
        device=config.device,
        precision=config.precision,
        data=given.get("data"),
        labels=config.labels,
        teacher=config.teacher,
    )
    if not join().is_rank_zero:
        return
    if parsed.json:
        print_json({"scores": scores})
    else:
        print_scores(scores)


def _defaults(recorded: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the set's own run was scored with; a protocol asked for brings its own numbers."""
    made_with = recorded.get("config") or {}
    plain = {key: made_with[key] for key in _SECTIONS if key in made_with and key != "device"}
    if "protocol" in given.get("evaluation", {}):
        del plain["evaluation"]
    return {"data": str(recorded.get("dataset", "")), **plain}
