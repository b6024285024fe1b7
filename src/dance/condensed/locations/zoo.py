"""``zoo:NAME``: sets that are part of the package; to add one, put its file into ``dance/zoo``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dance.condensed.container import load_set
from dance.condensed.locations import SCHEMES, Scheme, SetFile
from dance.condensed.score import Score
from dance.core.errors import ConfigError, nearest

FOLDER = Path(__file__).parents[2] / "zoo"
"""The files of the sets, which are named by their stems."""
QUICK = "quick-v1"
"""The protocol by which every set of the zoo is scored, beside one of a paper."""


def names() -> list[str]:
    """Names of the sets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find(name: str) -> SetFile:
    """The file of a set.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in names():
        raise ConfigError(
            f"there is no zoo:{name}, as dance list zoo shows{nearest(name, names())}"
        )
    return SetFile(FOLDER / f"{name}.safetensors", f"zoo:{name}")


def facts(name: str) -> dict[str, Any]:
    """What the file of a set says of it, as plain data.

    Returns:
        ``data``, ``ipc``, ``method``, ``images`` (stored), ``decoded_images``, ``storage_bytes``
        (what tables compare), ``file_bytes``, ``full`` and ``quick`` (the first score with hard
        labels by a protocol of a paper, and the one by ``quick-v1``: ``protocol``, ``network``,
        ``networks`` and, as fractions, ``mean``, ``std`` and ``ci95``; None if there is none), and
        ``page``, where it was measured. An entry that the file does not state is empty.

    Raises:
        DanceError: there is no such set, or its file is damaged.
    """
    file = find(name)
    condensed = load_set(file)
    origin = condensed.provenance
    scores = [score for score in condensed.scores if score.labels == "hard"]
    return {
        "data": origin.get("dataset", ""),
        "ipc": condensed.ipc,
        "method": origin.get("label", ""),
        "images": len(condensed),
        "decoded_images": len(condensed.targets()),
        "storage_bytes": condensed.storage_bytes(),
        "file_bytes": file.path.stat().st_size,
        "full": _first(score for score in scores if score.protocol != QUICK),
        "quick": _first(score for score in scores if score.protocol == QUICK),
        "page": origin.get("page", ""),
    }


def _first(scores: Iterable[Score]) -> dict[str, Any] | None:
    score = next(iter(scores), None)
    if score is None:
        return None
    last = score.last
    return {
        "protocol": score.protocol,
        "network": score.network,
        "networks": score.repeats,
        "mean": last.mean,
        "std": last.std,
        "ci95": last.ci95,
    }


SCHEMES.register("zoo")(Scheme("zoo:NAME", find))
