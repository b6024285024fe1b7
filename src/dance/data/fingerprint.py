"""Recognise a source that is in the cache: hash all files once, and keep the result by their times.

There are two hashes. The *stamp* (paths, sizes, modification and change times of all files: one
stat call each) is the key of a memo in the cache, and the memo contains the *content* hash (every
byte of every file), from which the keys of decoded sets are made. So a set that was decoded is
recognised without reading it, and an edited image is noticed even if its size and modification time
are unchanged. The fingerprint of an :class:`ImageSet` is made from its decoded pixels, labels and
class names, so it is the same for the same images in whichever layout they lie.
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

VERSION = 2
"""Part of every key and fingerprint; raise it if the same bytes give other images or splits."""
COMMON_RESOLUTIONS = (28, 32, 64, 128, 224)


@dataclass(frozen=True)
class Survey:
    """Properties of a source that are known without decoding it.

    Attributes:
        content: hex, hash of all bytes.
        shortest: smallest shorter side of any image in pixels.
        longest: largest shorter side.
        typical: their median.
        grey: whether all images are grey.
    """

    content: str
    shortest: int
    longest: int
    typical: int
    grey: bool

    @property
    def resolution(self) -> int:
        """Resolution in pixels of the square images if no size is given.

        The common shorter side if all images have the same; else the median, rounded down to 28,
        32, 64, 128 or 224 (below 28: the median itself).
        """
        if self.shortest == self.longest:
            return self.shortest
        return max(
            (resolution for resolution in COMMON_RESOLUTIONS if resolution <= self.typical),
            default=self.typical,
        )


def survey(located: LocatedSource, labels: str, skip_bad: bool) -> Survey:
    """Read every header and hash every file, unless a memo contains the result.

    Args:
        located: the source.
        labels: digest of its labels.
        skip_bad: pass over images without a readable header.

    Raises:
        DataError: an image has no readable header and ``skip_bad`` is off, or none has.
    """
    stamp = hashlib.sha256(
        f"{VERSION} {located.source.stamp(located.keep)} {located.keep} {labels}".encode()
    )
    memo = entry_folder("sources") / f"{stamp.hexdigest()}.json"
    try:
        return Survey(**read_json(memo))
    except (ArtifactError, TypeError):
        pass  # The memo is missing or damaged: survey the source.
    surveyed = _survey(located, skip_bad)
    write_memo(memo, asdict(surveyed))
    return surveyed


def _survey(located: LocatedSource, skip_bad: bool) -> Survey:
    resolutions: list[int] = []
    all_grey = True
    first_bad: BadImageError | None = None
    source = located.source
    total = sum(len(source.labels(split, located.keep)) for split in source.splits)
    with track(f"examining {located.name}", total, "images") as task:
        for split in source.splits:
            for result in ordered_map(_examine_record, source.records(split, located.keep)):
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
        raise first_bad or DataError(f"{located.name} holds no images")
    surveyed = Survey(
        content=source.content(located.keep), shortest=min(resolutions), longest=max(resolutions),
        typical=int(median(resolutions)), grey=all_grey,
    )  # fmt: skip
    if surveyed.shortest != surveyed.longest:
        log(
            f"{located.name}: shorter sides are {surveyed.shortest} to {surveyed.longest} pixels, "
            f"with median {surveyed.typical}; without --size images are resized to "
            f"{surveyed.resolution}"
        )
    return surveyed


def _examine_record(record: Record) -> tuple[int, bool] | BadImageError:
    try:
        return examine(record)
    except BadImageError as error:
        return error


def fingerprint(*parts: object) -> str:
    """Hash of JSON data, 32 hex digits."""
    text = json.dumps([VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
