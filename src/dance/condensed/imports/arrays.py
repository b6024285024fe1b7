"""Plain arrays by name: ``.npz`` files, and dictionaries of tensors in ``.pt`` files.

``images`` is (n, C, S, S), (n, S, S, C) or (n, S, S), in [0, 1] as floats or as uint8, and
``labels`` (n,) integers. ``dance export`` writes these files, with more entries that are read if
they are there: ``classes``, ``mean`` and ``std``, ``factor``, ``soft_labels``, ``learning_rate``,
``whitening_mean`` and ``whitening_matrix``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dance.condensed.imports import (
    IMPORTS,
    Foreign,
    Found,
    ImportFormat,
    as_number,
    as_tensor,
    plain_tensor,
    shown,
)
from dance.condensed.imports.dc import is_tuple
from dance.core.errors import DataError
from dance.data.checks import list_some
from dance.data.normalization import Normalization
from dance.data.whitening import ZCA, ZCA_STANDARDISED, Whitening

_USED = {
    "images", "labels", "classes", "mean", "std", "factor", "soft_labels", "learning_rate",
    "whitening_mean", "whitening_matrix",
}  # fmt: skip
_CHANNELS = (1, 3)


def _has(found: Found, kind: type) -> bool:
    value = found.only
    return (
        isinstance(value, dict)
        and isinstance(value.get("images"), kind)
        and isinstance(value.get("labels"), kind)
        and plain_tensor(value["labels"], 1)
    )


def _has_pair(found: Found) -> bool:
    """Whether there is a tuple (images, labels) that PyTorch saved; IDM's code pickles its own."""
    return is_tuple(found) and found.paths[0].suffix != ".pkl"


def _read(found: Found) -> Foreign:
    pair = isinstance(found.only, tuple)
    arrays: Mapping[str, Any]
    arrays = dict(zip(("images", "labels"), found.only, strict=True)) if pair else found.only
    notes = []
    images, rearranged = _images(as_tensor(arrays["images"]))
    if rearranged:
        notes.append("the channels of its images are the last axis")
    if unused := sorted(str(name) for name in arrays if name not in _USED):
        notes.append(f"of its arrays {list_some(unused)} are not used")
    soft, classes = arrays.get("soft_labels"), arrays.get("classes", ())
    rate, factor = arrays.get("learning_rate"), arrays.get("factor")
    if not isinstance(classes, list | tuple | np.ndarray) or np.ndim(classes) != 1:
        raise DataError(f"classes must be a list of names: got {shown(classes)}")
    return Foreign(
        images,
        as_tensor(arrays["labels"]),
        classes=tuple(map(str, classes)),
        soft=None if soft is None else as_tensor(soft),
        learning_rate=None if rate is None else as_number(rate, "learning_rate"),
        normalization=_normalization(arrays),
        factor=None if factor is None else int(as_number(factor, "factor")),
        notes=tuple(notes),
    )


def _images(images: Tensor) -> tuple[Tensor, bool]:
    """Images as (n, C, S, S), and whether their axes were in another order."""
    if images.ndim == 3:
        return images[:, None], False
    if images.ndim == 4 and images.shape[1] not in _CHANNELS and images.shape[3] in _CHANNELS:
        return images.permute(0, 3, 1, 2), True
    return images, False


def _normalization(arrays: Mapping[str, Any]) -> Normalization | None:
    """What the arrays say of it; None if they say nothing."""
    if "mean" not in arrays or "std" not in arrays:
        return None
    mean, std = (
        tuple(as_tensor(arrays[name]).double().flatten().tolist()) for name in ("mean", "std")
    )
    if "whitening_mean" not in arrays or "whitening_matrix" not in arrays:
        if not all(0 <= value <= 1 for value in mean) or not all(0 < value <= 1 for value in std):
            raise DataError(
                "mean and std must be those of pixels in [0, 1], with a std above 0: got mean "
                f"{', '.join(f'{value:.4g}' for value in mean)} and std "
                f"{', '.join(f'{value:.4g}' for value in std)}"
                + ("; divide them by 255 if they are of bytes" if max(mean + std) > 1 else "")
            )
        return Normalization(mean, std)
    return Normalization(mean, std, whitening_of(arrays))


def whitening_of(arrays: Mapping[str, Any]) -> Whitening:
    """The transform in ``whitening_mean`` (D,) and ``whitening_matrix`` (D, D).

    Raises:
        DataError: they have other shapes or types.
    """
    center, matrix = (as_tensor(arrays[f"whitening_{name}"]).float() for name in ("mean", "matrix"))
    if center.ndim != 1 or matrix.shape != (len(center), len(center)):
        raise DataError(
            "whitening_mean must be (D,) and whitening_matrix (D, D): got "
            f"{shown(center)} and {shown(matrix)}"
        )
    name = ZCA if torch.allclose(matrix, matrix.T, atol=1e-5) else ZCA_STANDARDISED
    return Whitening(center, matrix, name)


IMPORTS.register("npz")(
    ImportFormat(
        title="an .npz file with images and labels",
        method="Set",
        recognises=lambda found: _has(found, np.ndarray),
        read=_read,
    )
)
IMPORTS.register("pt")(
    ImportFormat(
        title="a .pt file with images and labels",
        method="Set",
        recognises=lambda found: _has(found, Tensor) or _has_pair(found),
        read=_read,
    )
)
