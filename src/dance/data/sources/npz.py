"""A single ``.npz`` file of plain arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dance.core.errors import DataError
from dance.data.config import DataConfig
from dance.data.sources import SOURCES, Labels, Pixels, Record, Source

Array = npt.NDArray[Any]
_CHANNELS = (1, 3, 4)


@SOURCES.register("npz")
def open_npz(location: str, config: DataConfig) -> Source | None:
    """Open a path that ends in ``.npz``."""
    path = Path(location)
    return Npz(path) if path.suffix.lower() == ".npz" and path.is_file() else None


class Npz(Source):
    """The arrays of one file, which are read and checked when it is opened.

    ``images`` is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4, as uint8 or as floats
    in [0, 1]; ``labels`` is (N,) of integers from 0 on. ``test_images`` and ``test_labels`` are
    optional, and so is ``classes``, the (K,) names of the classes.

    Raises:
        DataError: an array is missing, holds pickled objects, NaN or numbers out of range, or has a
            wrong shape or type.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        arrays = _read(path)
        for needed in ("images", "labels"):
            if needed not in arrays:
                raise DataError(
                    f"{path} must hold the arrays 'images' and 'labels': it holds "
                    f"{', '.join(arrays) or 'nothing'}"
                )
        self._splits = {"train": _split(path, arrays, "images", "labels")}
        if "test_images" in arrays or "test_labels" in arrays:
            if not {"test_images", "test_labels"} <= arrays.keys():
                raise DataError(
                    f"{path} must hold both 'test_images' and 'test_labels', or neither"
                )
            self._splits["test"] = _split(path, arrays, "test_images", "test_labels")
        self.splits = tuple(self._splits)
        self.classes = _classes(path, arrays.get("classes"), self._splits["train"][1])
        for split, (_, labels) in self._splits.items():
            if len(labels) and int(labels.max()) >= len(self.classes):
                raise DataError(
                    f"labels in {path} must lie in 0..{len(self.classes) - 1} ({len(self.classes)} "
                    "classes): "
                    f"the {split} split holds {int(labels.max())}"
                )

    def labels(self, split: str, keep: Collection[int]) -> Labels:
        """See :class:`Source`."""
        labels = self._splits[split][1]
        return labels[np.isin(labels, list(keep))]

    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """See :class:`Source`."""
        for row, (pixels, label) in enumerate(zip(*self._splits[split], strict=True)):
            if label in keep:
                yield Record(f"{self._path} {split} row {row}", int(label), pixels)

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """The ``.npz`` file."""
        return [("npz", self._path)]


def _read(path: Path) -> dict[str, Array]:
    """All arrays of the file; arrays of objects are refused, because they would be unpickled."""
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no archive of arrays")
        # It is opened here because NumPy does not close a damaged file.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path} holds pickled objects, which are not read because they could run code; "
                "store plain arrays: images as uint8, labels as int64, class names as an array of "
                "strings"
            ) from error
        raise DataError(f"{path} is damaged: {error}") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"{path} is damaged or no npz file: {error}") from error


def _split(
    path: Path, arrays: Mapping[str, Array], images: str, labels: str
) -> tuple[Pixels, Labels]:
    pixels = _channels_last(f"{images!r} in {path}", arrays[images])
    numbers = arrays[labels]
    name = f"{labels!r} in {path}"
    if numbers.shape != pixels.shape[:1]:
        raise DataError(
            f"{name} must be one number an image, shape ({len(pixels)},): got shape {numbers.shape}"
        )
    if not np.issubdtype(numbers.dtype, np.integer):
        raise DataError(f"{name} must be whole numbers (int64): got {numbers.dtype}")
    if len(numbers) and int(numbers.min()) < 0:
        raise DataError(f"{name} must be 0 or more: got {int(numbers.min())}")
    return pixels, numbers.astype(np.int64)


def _channels_last(name: str, images: Array) -> Pixels:
    """Check images and convert them to (N, H, W) or (N, H, W, C) uint8."""
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"{name} must be (N, H, W), (N, H, W, C) or (N, C, H, W): got shape {images.shape}"
        )
    if images.ndim == 4 and images.shape[3] not in _CHANNELS:
        if images.shape[1] not in _CHANNELS:
            raise DataError(
                f"{name} must have 1, 3 or 4 channels, last or second: got shape {images.shape}"
            )
        images = np.moveaxis(images, 1, 3)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if np.issubdtype(images.dtype, np.floating):
        return _from_unit(name, images)
    if images.dtype != np.uint8:
        raise DataError(f"{name} must be uint8, or floats in [0, 1]: got {images.dtype}")
    return np.ascontiguousarray(images)


def _from_unit(name: str, images: Array) -> Pixels:
    """Round floats in [0, 1] to the nearest of 256 levels, as uint8."""
    if not np.isfinite(images).all():
        raise DataError(f"{name} must be finite: it holds NaN or infinity")
    if len(images) and not 0 <= float(images.min()) <= float(images.max()) <= 1:
        raise DataError(
            f"{name} must be floats in [0, 1] or uint8: got "
            f"{float(images.min()):g}..{float(images.max()):g}; "
            "store 8-bit pixels as uint8, or divide by 255"
        )
    levels: Pixels = np.rint(images * 255).astype(np.uint8)
    return levels


def _classes(path: Path, names: Array | None, labels: Labels) -> tuple[str, ...]:
    if names is None:
        return tuple(str(label) for label in range(int(labels.max()) + 1 if len(labels) else 0))
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"'classes' in {path} must be a list of strings: got {names.dtype} of shape "
            f"{names.shape}"
        )
    return tuple(str(name) for name in names)
