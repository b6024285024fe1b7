"""SVHN's cropped digits as their authors publish them: MATLAB files, in which 10 means 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dance.core.errors import DataError
from dance.data.arrays import Arrays
from dance.data.config import DataConfig
from dance.data.sources import SOURCES, Labels, Layout, Pixels, Source

_SIDE = 32
_TRAIN, _TEST, _EXTRA = "train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"
_MAX_IMAGES = 2_000_000
"""Most images of a file; a packed one may claim any number. The extra ones are 531,131."""


def _folder(path: Path) -> Path:
    return path.parent if path.name == _TRAIN else path


def open_svhn(location: str, config: DataConfig) -> Source:
    """Open a folder with ``train_32x32.mat``, or this file; the extra images are not used.

    Raises:
        DataError: a file is damaged, or its arrays are not those of SVHN.
    """
    path = Path(location)
    root = _folder(path)
    read = [root / name for name in (_TRAIN, _TEST) if (root / name).is_file()]
    splits = {"train" if file.name == _TRAIN else "test": _read(file) for file in read}
    notes: tuple[str, ...] = ()
    if (root / _EXTRA).is_file():
        notes = (f"{_EXTRA} holds further images, which are not used",)
    name = "svhn" if path.name == _TRAIN else root.resolve().name
    return Arrays(name, tuple("0123456789"), splits, read, notes)


def _read(path: Path) -> tuple[Pixels, Labels]:
    """Images (N, 32, 32, 3) and labels (N,); a file stores (32, 32, 3, N) and (N, 1)."""
    from scipy.io import loadmat, whosmat  # takes half a second

    try:
        shapes = {name: (shape, kind) for name, shape, kind in whosmat(str(path))}
        pixels, kind = shapes.get("X", ((), "nothing"))
        count = pixels[-1] if pixels else 0
        fits = pixels == (_SIDE, _SIDE, 3, count) and kind == "uint8" and count <= _MAX_IMAGES
        if not fits or shapes.get("y", ((), ""))[0] != (count, 1):
            described = ", ".join(f"{name} {shape}" for name, (shape, _) in shapes.items())
            raise DataError(
                f"{path} must hold X (32, 32, 3, N) uint8 and y (N, 1), as SVHN does: it holds "
                f"{described[:200] or 'nothing'}"
            )
        arrays: dict[str, Any] = loadmat(str(path), variable_names=("X", "y"))
    except DataError:
        raise
    except Exception as error:  # a damaged file can make the reader raise an exception of any type
        raise DataError(f"{path} is damaged or no MATLAB file: {error}; fetch it again") from error
    images, labels = arrays["X"], arrays["y"]
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iuf":
        raise DataError(f"'y' in {path} must be numbers")
    digits = labels[:, 0].astype(np.int64)
    wrong = digits[(digits < 0) | (digits > 10) | (digits != labels[:, 0])]
    if len(wrong) or {0, 10} <= set(digits.tolist()):
        raise DataError(
            f"'y' in {path} must be the digits 1 to 9, and 10 for 0: "
            f"{int(wrong[0]) if len(wrong) else 'both 0 and 10'} is among them"
        )
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), digits % 10


SOURCES.register("svhn")(
    Layout(
        title="MATLAB files of SVHN",
        recognises=lambda location: (_folder(Path(location)) / _TRAIN).is_file(),
        open=open_svhn,
        published=True,
    )
)
