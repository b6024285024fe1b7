"""load: from a name or a path to an ImageSet, decoded once and then served from the cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from dance.core.errors import ConfigError, DataError
from dance.core.files import Json
from dance.core.progress import log, track
from dance.data.build import SPLITS, Plan, build, hold_out
from dance.data.cache import Entry, obtain
from dance.data.checks import check_classes
from dance.data.config import DataConfig
from dance.data.decode import bad_image
from dance.data.find import Found, find
from dance.data.fingerprint import fingerprint, survey
from dance.data.imageset import ImageSet

_LISTED = 10
"""Bad images that a note names; the rest are counted."""


def load(
    source: str, split: Literal["train", "test"], config: DataConfig | None = None
) -> ImageSet:
    """Load one split of a labelled image set.

    Args:
        source: a known name (``"cifar10"``), a folder of class folders, a ``.parquet`` file or a
            folder of them, an ``.npz`` file, or ``hf:owner/name``.
        split: which split; where there is no test split, a fixed stratified part is held out.
        config: where to look and how to prepare images; the defaults if not given.

    Returns:
        The split on the CPU; large ones are memory-mapped.

    Raises:
        DataError: the set cannot be found, read or used.
        ArtifactError: the cache cannot be written.

    >>> digits = load("digits", "test")
    >>> tuple(digits.images.shape[1:]), digits.num_classes
    ((1, 8, 8), 10)
    """
    if split not in SPLITS:
        raise ConfigError(f"split must be 'train' or 'test': got {split!r}")
    config = config or DataConfig()
    try:
        found = find(source, config)
        entry, held_out = _entry(found, config)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot read {error.filename or source}: {reason}") from error
    notes = tuple(_notes(found, entry, config.test_fraction if held_out else None))
    for note in notes:
        _say_once(f"{found.name}: {note}")
    mean, std = _constants(found, entry)
    return ImageSet(
        images=entry.tensor(f"{split}_images"),
        labels=entry.tensor(f"{split}_labels"),
        classes=found.classes,
        mean=mean,
        std=std,
        name=found.name,
        split=split,
        fingerprint=fingerprint(entry.folder.name, mean, std),
        notes=notes,
    )


def _entry(found: Found, config: DataConfig) -> tuple[Entry, bool]:
    """The decoded set, and whether its test split is held out."""
    kept = {label: position for position, label in enumerate(found.keep)}
    labels = {
        split: np.array([kept[label] for label in found.source.labels(split, kept)], dtype=np.int64)
        for split in found.source.splits
    }
    held_out = "test" not in labels
    least, why = (2, ", since a test split must be held out") if held_out else (1, " to train on")
    check_classes(found.name, found.classes, labels["train"], least, why)
    if not held_out and not len(labels["test"]):
        raise DataError(
            f"the test split of {found.name} must not be empty; fill it, or remove it to have one "
            "held out"
        )
    surveyed = survey(found, config.skip_bad)
    resolution = config.size or (found.known.size if found.known else surveyed.resolution)
    channels = 1 if surveyed.grey else 3
    rule = config.test_fraction if held_out else None
    key = fingerprint(surveyed.content, found.keep, found.classes, resolution, channels, rule)
    total = sum(map(len, labels.values()))

    def make(folder: Path) -> Json:
        log(
            f"decoding {total:,} images of {found.name} to {resolution} x {resolution}, "
            f"into {folder.parent}"
        )
        mask = hold_out(labels["train"], len(found.classes), rule) if rule is not None else None
        plan = Plan(found, kept, mask, resolution, channels, config.skip_bad)
        with track(f"decoding {found.name}", total, "images") as task:
            return build(plan, folder, task)

    entry = obtain(key, make, room=total * (channels * resolution * resolution + 8))
    if entry.meta["skipped"] and not config.skip_bad:
        raise DataError(bad_image(entry.meta["skipped"][0][1]))
    return entry, held_out


def _constants(found: Found, entry: Entry) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The field's mean and std of a known set, if they are for this number of channels."""
    if found.known is not None and found.known.constants is not None:
        mean, std = found.known.constants
        if len(mean) == entry.meta["channels"]:
            return mean, std
    return tuple(entry.meta["mean"]), tuple(entry.meta["std"])


def _notes(found: Found, entry: Entry, held_out: float | None) -> Iterator[str]:
    """What a reader of scores must know."""
    yield from found.notes
    train, test = (sum(entry.meta["counts"][split]) for split in SPLITS)
    if found.known is not None:
        difference = found.known.difference(*((train + test, 0) if held_out else (train, test)))
        if difference:
            yield difference
    if held_out is not None:
        yield (
            f"no test split: {held_out:.0%} of every class ({test:,} of {train + test:,} images) "
            "are held out, the same for every seed"
        )
    if skipped := entry.meta["skipped"]:
        listed = "; ".join(reason for _, reason in skipped[:_LISTED])
        more = f"; and {len(skipped) - _LISTED} more" if len(skipped) > _LISTED else ""
        yield f"{len(skipped)} images that cannot be used are left out: {listed}{more}"


@cache
def _say_once(message: str) -> None:
    """Log a note once a process, however often the set is loaded."""
    log(message)
