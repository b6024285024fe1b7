"""MNIST, Fashion-MNIST and KMNIST as their authors publish them: IDX files, packed or not."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from dance.core.errors import DataError
from dance.data.arrays import Array, Arrays
from dance.data.config import DataConfig
from dance.data.sources import SOURCES, Labels, Layout, Pixels, Source, folders

_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx([13])-ubyte(\.gz)?")
_MAX_BYTES = 2**32
"""Most pixels of a file; a packed file may claim any number."""

Files = dict[tuple[str, str], Path]


def _files(path: Path) -> Files:
    """By split and kind, the IDX files in a folder; of a packed and an unpacked one the latter.

    Raises:
        DataError: files of other names hold the same split.
    """
    found: Files = {}
    for file in sorted(path.iterdir(), key=lambda file: file.suffix == ".gz"):
        match = _NAME.fullmatch(file.name)
        if match and file.is_file():
            split = "train" if match[1] == "train" else "test"
            other = found.setdefault((split, match[2]), file)
            if other.name.removesuffix(".gz") != file.name.removesuffix(".gz"):
                raise DataError(
                    f"{path} must hold the {match[2]} of the {split} split once: it holds "
                    f"{other.name} and {file.name}; move one of them away"
                )
    return found


def _inside(path: Path) -> Path | None:
    """The folder of the IDX files: itself, its ``raw``, or that of the only folder in it."""
    for _ in range(3):
        if not path.is_dir():
            return None
        if _files(path):
            return path
        below = folders(path)
        if "raw" in below:
            path = path / "raw"
        elif len(below) == 1:
            path = path / below[0]
        else:
            return None
    return None


def open_idx(location: str, config: DataConfig) -> Source:
    """Open a folder with ``train-images-idx3-ubyte`` and its fellows, or one above ``raw``.

    The files have no class names; the classes are called by their numbers.

    Raises:
        DataError: a file is missing or damaged, or does not hold as many bytes as it says.
    """
    root = _inside(Path(location))
    assert root is not None, "it was recognised"
    files = _files(root)
    splits: dict[str, tuple[Pixels, Labels]] = {}
    for split in ("train", "test"):
        kinds = [kind for kind in ("images", "labels") if (split, kind) in files]
        if len(kinds) == 1:
            missing = "labels" if kinds == ["images"] else "images"
            raise DataError(
                f"{root} must hold the {missing} to {files[split, kinds[0]].name}: they are missing"
            )
        if kinds:
            images, labels = _read(files[split, "images"], 3), _read(files[split, "labels"], 1)
            splits[split] = images, labels.astype(np.int64)
    if "train" not in splits:
        raise DataError(
            f"{root} must hold train-images-idx3-ubyte and its labels: they are missing"
        )
    highest = max(int(labels.max(initial=-1)) for _, labels in splits.values())
    classes = tuple(str(label) for label in range(highest + 1))
    name = root.resolve().parent.name if root.name == "raw" else root.resolve().name
    return Arrays(name, classes, splits, [files[key] for key in sorted(files)])


def _read(path: Path, dimensions: int) -> Array:
    """The array of unsigned bytes in an IDX file of so many dimensions."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            shape = tuple(int(length) for length in np.frombuffer(head[4:], ">u4"))
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(shape) != dimensions:
                raise DataError(
                    f"{path} must be an IDX file of unsigned bytes with {dimensions} dimensions: "
                    f"it begins with {head[:4].hex() or 'nothing'}; fetch it again"
                )
            size = math.prod(shape)
            if size > _MAX_BYTES or 0 in shape[1:]:
                raise DataError(f"{path} must hold images: it says that its shape is {shape}")
            content = _up_to(cast(BinaryIO, file), size + 1)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}; fetch it again") from error
    if len(content) != size:
        raise DataError(
            f"{path} must hold the {size:,} bytes of its shape {shape}: it holds "
            f"{'more' if len(content) > size else f'{len(content):,}'}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _up_to(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file; memory is taken by what is there, not by what is asked for."""
    parts: list[bytes] = []
    left = size
    while left and (part := file.read(min(2**24, left))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


SOURCES.register("idx")(
    Layout(
        title="IDX files of MNIST",
        recognises=lambda location: _inside(Path(location)) is not None,
        open=open_idx,
        published=True,
    )
)
