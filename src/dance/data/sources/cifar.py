"""CIFAR-10 and CIFAR-100 as their authors publish them, in pickles of Python 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dance.core.errors import DataError
from dance.core.unpickle import load
from dance.data.arrays import Arrays
from dance.data.checks import check_range
from dance.data.config import DataConfig
from dance.data.sources import SOURCES, Labels, Layout, Pixels, Source, folders

_TEN = ("batches.meta", tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_HUNDRED = ("meta", ("train",), "test")
_SIDE = 32


def _inside(path: Path) -> list[Path]:
    """The folders of CIFAR files: a folder itself, or the published ones if it holds no others."""
    if not path.is_dir():
        return []
    if _is_ten(path) or _is_hundred(path):
        return [path]
    below = folders(path)
    published = {"cifar-10-batches-py", "cifar-100-python"}
    return [path / name for name in below] if published.issuperset(below) else []


def _is_ten(path: Path) -> bool:
    return any((path / name).is_file() for name in (*_TEN[1], _TEN[2]))


def _is_hundred(path: Path) -> bool:
    return all((path / name).is_file() for name in ("meta", "train"))


def open_cifar(location: str, config: DataConfig) -> Source:
    """Open ``cifar-10-batches-py``, ``cifar-100-python``, or a folder that holds one of them.

    Of CIFAR-100 the 100 fine labels are taken. The pickles go through
    :mod:`dance.core.unpickle`.

    Raises:
        DataError: both sets are in the folder, a file is missing, is damaged, asks for what is not
            read from a pickle, or has another shape than it was published with.
    """
    found = _inside(Path(location))
    if len(found) > 1:
        raise DataError(
            f"{location} must hold one set: it holds {' and '.join(path.name for path in found)}; "
            "give the path of one of them"
        )
    (root,) = found
    ten = _is_ten(root)
    meta, train, test = _TEN if ten else _HUNDRED
    missing = [name for name in (meta, *train, test) if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"{root} must hold all files of CIFAR-{10 if ten else 100}: {', '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} missing; unpack the published archive again"
        )
    classes = _names(root / meta, "label_names" if ten else "fine_label_names")
    key = "labels" if ten else "fine_labels"
    parts = [_batch(root / name, key, len(classes)) for name in train]
    joined = np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts])
    splits = {"train": joined, "test": _batch(root / test, key, len(classes))}
    notes = () if ten else ("the 100 fine labels are taken; the 20 coarse ones are not used",)
    read = [root / name for name in (meta, *train, test)]
    return Arrays(root.resolve().name, classes, splits, read, notes)


def _dictionary(path: Path) -> dict[str, Any]:
    """The entries of a pickle by name; Python 2 wrote the names as bytes."""
    content = load(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a dictionary: it holds a {type(content).__name__}")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): value
        for key, value in content.items()
    }


def _entry(path: Path, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise DataError(
            f"{path} must hold the entry {key!r}: it holds {', '.join(sorted(content))[:200]}"
        )
    return content[key]


def _names(path: Path, key: str) -> tuple[str, ...]:
    names = _entry(path, _dictionary(path), key)
    if not isinstance(names, list) or not all(isinstance(name, (bytes, str)) for name in names):
        raise DataError(f"{key!r} of {path} must be a list of names")
    return tuple(
        name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names
    )


def _batch(path: Path, key: str, num_classes: int) -> tuple[Pixels, Labels]:
    """The images (N, 32, 32, 3) and labels (N,) of one file."""
    content = _dictionary(path)
    rows, numbers = _entry(path, content, "data"), _entry(path, content, key)
    width = 3 * _SIDE * _SIDE
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (width,):
        is_array = isinstance(rows, np.ndarray)
        shown = f"{rows.dtype} {rows.shape}" if is_array else f"a {type(rows).__name__}"
        raise DataError(f"'data' of {path} must be uint8 of shape (N, {width}): it is {shown}")
    if isinstance(numbers, np.ndarray) and numbers.ndim == 1:
        numbers = numbers.tolist()
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise DataError(f"{key!r} of {path} must be a list of whole numbers")
    if len(numbers) != len(rows):
        raise DataError(
            f"{path} must have one label for each image: it has {len(rows):,} images and "
            f"{len(numbers):,} labels"
        )
    try:
        labels = np.array(numbers, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{key!r} of {path} must lie in 0..{num_classes - 1}") from error
    split = "test" if path.name in (_TEN[2], _HUNDRED[2]) else "train"
    check_range(str(path), split, labels, num_classes)
    images = rows.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


SOURCES.register("cifar")(
    Layout(
        title="CIFAR's Python batches",
        recognises=lambda location: bool(_inside(Path(location))),
        open=open_cifar,
        published=True,
    )
)
