"""From what a user typed, a name or a path, to an opened source and the classes to take from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dance.core.errors import DataError, nearest
from dance.core.progress import log
from dance.data.config import DataConfig
from dance.data.known import KNOWN, Known
from dance.data.sources import SOURCES, Source

IMAGENET_FOLDER = "imagenet"
"""Folder under the data root that holds all of ImageNet-1K, to cut the subsets out of."""


@dataclass(frozen=True)
class Found:
    """A source and what is taken from it.

    Attributes:
        source: where the records come from.
        name: what the set is called.
        keep: for each class its label in the source.
        classes: its name, index = new label.
        known: what was published about the set, if it was asked for by name.
        notes: differences of class names from the published ones, and the source's remarks.
    """

    source: Source
    name: str
    keep: tuple[int, ...]
    classes: tuple[str, ...]
    known: Known | None = None
    notes: tuple[str, ...] = ()


def find(source: str, config: DataConfig) -> Found:
    """Open a data set; a known name comes before a path of the same spelling (say ``./cifar10``).

    Raises:
        DataError: neither a known name nor a path, a name that is nowhere to be had, or a source
            that cannot be read.
    """
    if source in KNOWN:
        return _find_known(KNOWN[source], config)
    opened = _open(source, config)
    if opened is not None:
        return Found(opened, opened.name, tuple(range(len(opened.classes))), opened.classes)
    if Path(source).exists():
        raise DataError(
            f"cannot tell what {source} is: it must be a folder with one folder of images per "
            "class, a .parquet file "
            "or folder of them, or an .npz file"
        )
    raise DataError(
        f"unknown data set {source!r}: there is no such path, and no data set of this name"
        f"{nearest(source, KNOWN)}; give a name, a folder, a .parquet or .npz file, or "
        "hf:owner/name"
    )


def _find_known(known: Known, config: DataConfig) -> Found:
    root = config.root or os.environ.get("DANCE_DATA_ROOT")
    for path in _local(known, Path(root).expanduser()) if root else ():
        opened = _open(str(path), config)
        if opened is not None:
            return _aligned(known, opened)
    if known.imagenet and not config.offline:
        log(
            f"{known.name} is cut out of ImageNet-1K, about 150 GB to fetch; a copy that is here "
            f"already is used as <root>/{IMAGENET_FOLDER}/"
        )
    try:
        opened = _open(known.location, config)
    except DataError as error:
        raise DataError(
            f"data set {known.name!r} is not here. Three ways to it: (1) put its parquet files or "
            "class folders into "
            f"<root>/{known.name}/ and pass --data-root or set DANCE_DATA_ROOT (now "
            f"{root or 'not set'}); "
            "(2) pip install 'dance[hf]' and let it be fetched, without --offline; "
            f"(3) give the path of a folder, .parquet or .npz file instead of the name. [{error}]"
        ) from error
    assert opened is not None, f"no source kind opens {known.location}"
    return _aligned(known, opened)


def _local(known: Known, root: Path) -> Iterator[Path]:
    """Folders that may hold a known set, the most particular first."""
    subset = known.location.rpartition(":")[2]
    names = [f"{known.name}/{subset}", known.name]
    if known.imagenet:
        names.append(IMAGENET_FOLDER)
    yield from (path for path in map(root.joinpath, names) if path.is_dir())


def _aligned(known: Known, source: Source) -> Found:
    """The copy's classes in the published order and spelling; with a note if they are others."""
    labels = known.match(source.classes)
    if labels is None:
        note = (
            f"the classes of this copy of {known.name} are not the {known.count} published ones: "
            "it has "
            f"{len(source.classes)}, such as {source.classes[0]!r}; scores cannot be held against "
            "published ones"
        )
        everything = tuple(range(len(source.classes)))
        return Found(source, known.name, everything, source.classes, known, (note,))
    classes = known.classes or tuple(source.classes[label] for label in labels)
    return Found(source, known.name, labels, classes, known)


def _open(location: str, config: DataConfig) -> Source | None:
    """Ask every source kind in turn."""
    for kind in SOURCES.names():
        opened = SOURCES.get(kind)(location, config)
        if opened is not None:
            return opened
    return None
