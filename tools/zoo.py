"""Put the set of a run into the zoo: ``python tools/zoo.py RUN NAME --page docs/results/…#…``.

The file gets the page on which its scores stand; all else that ``dance list zoo`` shows was stored
by ``dance condense`` and ``dance evaluate``. A set that the zoo cannot take is refused.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from measured import anchor

from dance.condensed import CondensedSet, load_set
from dance.condensed.locations.zoo import FOLDER, QUICK
from dance.data.known import KNOWN

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 1_000_000
"""Bytes that a file of the zoo may have."""
NETWORKS = 3
"""Networks that a score needs at least, so that ``dance verify`` can compare."""


def faults(condensed: CondensedSet, size: int) -> list[str]:
    """What keeps a set from being one of the zoo.

    Args:
        condensed: as it would be stored.
        size: of its file, in bytes.
    """
    found = []
    if condensed.origin != "made" or condensed.pixel_range is None:
        found.append("it must be made by dance condense, and stored in 8 bits")
    if size > LARGEST:
        found.append(f"its file must have at most {LARGEST:,} bytes: it has {size:,}")
    usable = [
        score.protocol
        for score in condensed.scores
        if score.repeats >= NETWORKS and score.labels == "hard" and condensed.was_scored_by(score)
    ]
    if QUICK not in usable or set(usable) == {QUICK}:
        found.append(
            f"it must have scores by {QUICK} and by the protocol of a paper, of {NETWORKS} "
            f"networks or more and with hard labels: it has {', '.join(usable) or 'none'}"
        )
    config = condensed.provenance.get("config", {})
    if config.get("data") not in KNOWN:
        found.append(f"it must be made of a known data set: it is of {config.get('data')}")
    if private := re.findall(r'"[/~][^"]*"', json.dumps(config)):
        found.append(f"its settings must hold no path of one machine: they hold {private[0]}")
    page, _, fragment = condensed.provenance.get("page", "").partition("#")
    place = ROOT / page
    headings = re.findall(r"^#+ (.+)$", place.read_text("utf-8"), re.M) if place.is_file() else []
    if fragment not in map(anchor, headings):
        found.append(
            f"its page must be a section below docs/results: there is no {page}#{fragment}"
        )
    return found


def main() -> None:
    """Read the arguments, check the set, and write its file, or nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory, or file of the set")
    parser.add_argument("name", help="under which the zoo has the set, as digits-ipc1")
    parser.add_argument("--page", required=True, help="section with its scores, as FILE#heading")
    given = parser.parse_args()
    condensed = load_set(given.run)
    condensed = replace(condensed, provenance={**condensed.provenance, "page": given.page})
    place = FOLDER / f"{given.name}.safetensors"
    condensed.save(place)
    if found := faults(condensed, place.stat().st_size):
        place.unlink()
        raise SystemExit(f"{given.run} cannot be a set of the zoo:\n  " + "\n  ".join(found))


if __name__ == "__main__":
    main()
