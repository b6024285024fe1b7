"""STL-10 as its authors publish it: binary files of 96x96 pixels, stored by columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dance.core.errors import DataError
from dance.data.arrays import Arrays
from dance.data.config import DataConfig
from dance.data.sources import SOURCES, Labels, Layout, Pixels, Source, folders

_SIDE = 96
_FOLDER = "stl10_binary"
_CLASSES: tuple[str, ...] = (
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
)  # fmt: skip


def _inside(path: Path) -> Path | None:
    """The folder of the binary files: itself, or the published one if it holds no other."""
    if not path.is_dir():
        return None
    if folders(path) == [_FOLDER]:
        path = path / _FOLDER
    return path if (path / "train_X.bin").is_file() else None


def open_stl10(location: str, config: DataConfig) -> Source:
    """Open ``stl10_binary`` or the folder above it; the unlabelled images are not used.

    Raises:
        DataError: a file is missing, or has a size or labels that are not those of STL-10.
    """
    root = _inside(Path(location))
    assert root is not None, "it was recognised"
    names, named = root / "class_names.txt", _CLASSES
    read: list[Path] = []
    if names.is_file():
        named = tuple(names.read_bytes()[:10_000].decode("utf-8", "replace").split())
        read.append(names)
    splits: dict[str, tuple[Pixels, Labels]] = {}
    for split in ("train", "test"):
        files = [root / f"{split}_X.bin", root / f"{split}_y.bin"]
        present = [file for file in files if file.is_file()]
        if len(present) == 1:
            (missing,) = set(files) - set(present)
            raise DataError(f"{missing} must lie beside {present[0].name}: it is missing")
        if present:
            splits[split] = _images(files[0]), _labels(files[1], len(named))
            read += files
    notes: tuple[str, ...] = ()
    if (root / "unlabeled_X.bin").is_file():
        notes = ("unlabeled_X.bin holds images without labels, which are not used",)
    return Arrays(root.resolve().name, named, splits, read, notes)


def _images(path: Path) -> Pixels:
    """Images (N, 96, 96, 3); a file stores each as (3, columns, rows)."""
    size, each = path.stat().st_size, 3 * _SIDE * _SIDE
    if size % each:
        raise DataError(
            f"{path} must hold images of {each:,} bytes: it has {size:,} bytes; fetch it again"
        )
    stored = np.fromfile(path, np.uint8).reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(stored.transpose(0, 3, 2, 1))


def _labels(path: Path, num_classes: int) -> Labels:
    """Labels from 0 on; a file counts from 1."""
    labels = np.fromfile(path, np.uint8).astype(np.int64)
    wrong = labels[(labels < 1) | (labels > num_classes)]
    if len(wrong):
        raise DataError(
            f"labels in {path} must lie in 1..{num_classes}: {int(wrong[0])} is among them"
        )
    return labels - 1


SOURCES.register("stl10")(
    Layout(
        title="binary files of STL-10",
        recognises=lambda location: _inside(Path(location)) is not None,
        open=open_stl10,
        published=True,
    )
)
