"""Source kinds, one file each: a new kind is a new file, no list is edited.

A module registers an opener, ``(location, config) -> Source | None``, that answers None to a
location that is not of its kind. Locations are what :mod:`dance.data.known` turns names into:
paths, ``hf:owner/name``, ``embedded:digits``.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dance.core.registry import Registry
from dance.data.config import DataConfig

Labels = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Record:
    """One labelled image, not yet decoded.

    Attributes:
        where: what a message calls it: a file, or ``"train.parquet row 17"``.
        label: index into the source's classes.
        content: an encoded image, the file that holds it, or pixels as (H, W) or (H, W, C) uint8.
    """

    where: str
    label: int
    content: bytes | Path | Pixels


class Source(ABC):
    """A labelled image set as it lies somewhere: its classes, its splits, and the records of each.

    Attributes:
        name: what the set is called.
        classes: names, index = label, verbatim.
        splits: ``("train",)`` or ``("train", "test")``.
        remarks: what a reader of scores must know about how the source was read.
    """

    name: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @abstractmethod
    def labels(self, split: str, keep: Collection[int]) -> Labels:
        """Labels of the records whose label is in ``keep``, in dataset order, (n,) int64."""

    @abstractmethod
    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """The same records, one by one; can be called again."""

    @abstractmethod
    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """Every file that the records come from, with a name that is the same wherever it lies."""

    def stamp(self, keep: Collection[int]) -> str:
        """Hex that changes when a file is added, removed or written to; nothing is read.

        The change time (ctime) is part of it, which no program sets at will: an image replaced by
        one of the same size and modification time is noticed.
        """
        digest = hashlib.sha256(type(self).__name__.encode())
        for _, path in self.files(keep):
            status = path.stat()
            digest.update(os.fsencode(path.absolute()) + b"\0")
            digest.update(f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
        return digest.hexdigest()

    def content(self, keep: Collection[int]) -> str:
        """Hex of the names and bytes of every file; the same on every machine."""
        digest = hashlib.sha256(type(self).__name__.encode())
        files = self.files(keep)
        with ThreadPoolExecutor(4) as pool:
            for (name, _), content in zip(
                files, pool.map(_sha256, (p for _, p in files)), strict=True
            ):
                digest.update(os.fsencode(name) + b"\0" + content)
        return digest.hexdigest()


Opener = Callable[[str, DataConfig], Source | None]
SOURCES: Registry[Opener] = Registry("source kind", "dance.data.sources")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
