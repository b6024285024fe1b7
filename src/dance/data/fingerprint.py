"""What a source is, told once by reading all of it and then remembered by the times of its files.

Two hashes: the *stamp* (paths, sizes, modification and change times of all files: a stat each)
finds a memo in the cache, and the memo holds the *content* hash (every byte of every file), which
is what fingerprints are made of. So a set is recognised in a moment, an edited image is noticed
even if its size and modification time stay the same, and a fingerprint is the same on every machine
that has the same files.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from statistics import median

from dance.core.errors import ArtifactError, DataError
from dance.core.files import read_json
from dance.core.progress import log, track
from dance.data.cache import entry_folder, write_memo
from dance.data.decode import BadImageError, bad_image, examine
from dance.data.find import LocatedSource
from dance.data.parallel import ordered_map
from dance.data.sources import Record

VERSION = 1
"""Part of every fingerprint; goes up when the same bytes are decoded or split differently."""
USUAL_SIDES = (28, 32, 64, 128, 224)


@dataclass(frozen=True)
class Survey:
    """What is known of a source without decoding it.

    Attributes:
        content: hex, hash of all bytes.
        shortest: smallest shorter side of any image in pixels.
        longest: greatest shorter side.
        typical: their median.
        grey: all images are grey.
    """

    content: str
    shortest: int
    longest: int
    typical: int
    grey: bool

    @property
    def resolution(self) -> int:
        """Side of the square images when none is asked for.

        The common shorter side if all images share one; else the median, rounded down to 28, 32,
        64, 128 or 224 (below
        28: the median itself).
        """
        if self.shortest == self.longest:
            return self.shortest
        return max(
            (resolution for resolution in USUAL_SIDES if resolution <= self.typical),
            default=self.typical,
        )


def survey(found: LocatedSource, skip_bad: bool) -> Survey:
    """Look at every header and hash every file, unless a memo tells it.

    Raises:
        DataError: an image has no readable header and ``skip_bad`` is off, or none has.
    """
    stamp = hashlib.sha256(f"{VERSION} {found.source.stamp(found.keep)} {found.keep}".encode())
    memo = entry_folder("sources") / f"{stamp.hexdigest()}.json"
    try:
        return Survey(**read_json(memo))
    except (ArtifactError, TypeError):
        pass  # new, or damaged: both are made anew
    surveyed = _survey(found, skip_bad)
    write_memo(memo, asdict(surveyed))
    return surveyed


def _survey(found: LocatedSource, skip_bad: bool) -> Survey:
    resolutions: list[int] = []
    all_grey = True
    first_bad: BadImageError | None = None
    source = found.source
    total = sum(len(source.labels(split, found.keep)) for split in source.splits)
    with track(f"examining {found.name}", total, "images") as task:
        for split in source.splits:
            for result in ordered_map(_examined, source.records(split, found.keep)):
                task.advance()
                if isinstance(result, BadImageError):
                    if not skip_bad:
                        raise DataError(bad_image(str(result)))
                    first_bad = first_bad or result
                    continue
                resolution, grey = result
                resolutions.append(resolution)
                all_grey &= grey
    if not resolutions:
        raise first_bad or DataError(f"{found.name} holds no images")
    surveyed = Survey(
        content=source.content(found.keep), shortest=min(resolutions), longest=max(resolutions),
        typical=int(median(resolutions)), grey=all_grey,
    )  # fmt: skip
    if surveyed.shortest != surveyed.longest:
        log(
            f"{found.name}: shorter sides are {surveyed.shortest} to {surveyed.longest} pixels, "
            f"{surveyed.typical} in the "
            f"middle; without --size images are brought to {surveyed.resolution}"
        )
    return surveyed


def _examined(record: Record) -> tuple[int, bool] | BadImageError:
    try:
        return examine(record)
    except BadImageError as error:
        return error


def fingerprint(*parts: object) -> str:
    """32 hex digits of anything JSON can hold."""
    text = json.dumps([VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
