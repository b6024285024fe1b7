"""The files that the code of MTT writes, as do FTD, TESLA and DATM, which grew from it.

``images_*.pt`` holds the images as network input, (n, C, S, S) float32, and ``labels_*.pt`` their
labels: (n,) int64, or with DATM (n, K) float32 logits, of which its loss takes the softmax.
``lr_*.pt`` is the learned learning rate, which MTT's own code does not store. With ZCA, network
input is whitened, and ``images_zca_*.pt`` holds the images before whitening.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dance.condensed.container import SUM_TOLERANCE
from dance.condensed.imports import (
    IMPORTS,
    Foreign,
    Found,
    ImportFormat,
    as_tensor,
    plain_tensor,
)
from dance.core.errors import DataError


def _parts(found: Found) -> dict[str, list[Path]]:
    """The files by what they hold: images, labels, soft labels, a learning rate, or others."""
    parts: dict[str, list[Path]] = {
        "images": [], "labels": [], "soft": [], "rate": [], "other": [],
    }  # fmt: skip
    for path, value in found.values.items():
        is_tensor = isinstance(value, Tensor)
        if plain_tensor(value, 4) and is_tensor:
            parts["images"].append(path)
        elif plain_tensor(value, 1) and is_tensor and not value.is_floating_point():
            parts["labels"].append(path)
        elif plain_tensor(value, 2) and is_tensor and value.is_floating_point():
            parts["soft"].append(path)
        elif type(value) is float or (
            is_tensor and value.numel() == 1 and value.is_floating_point()
        ):
            parts["rate"].append(path)
        else:
            parts["other"].append(path)
    return parts


def _has(found: Found, labels: str) -> bool:
    parts = _parts(found)
    return (
        len(parts["images"]) in (1, 2)
        and len(parts["labels"]) + len(parts["soft"]) == len(parts[labels]) == 1
        and len(parts["rate"]) <= 1
        and not parts["other"]
    )


def _read(found: Found) -> Foreign:
    parts = _parts(found)
    original = [path for path in parts["images"] if "zca" in path.name.lower()]
    inputs = [path for path in parts["images"] if path not in original]
    if len(inputs) > 1 or len(original) > 1:
        raise DataError(
            "of two files of images one must be called images_zca_*, with the images before "
            f"whitening: got {' and '.join(path.name for path in parts['images'])}; leave one out"
        )
    images = as_tensor(found.values[(inputs or original)[0]])
    notes = []
    if not inputs:
        notes.append("its pixels are those before whitening, which networks see whitened")
    soft, logits = None, False
    if parts["labels"]:
        labels = as_tensor(found.values[parts["labels"][0]])
    else:
        soft = as_tensor(found.values[parts["soft"][0]])
        labels = _classes_of(soft, len(images))
        sums = soft.double().sum(1)
        logits = bool((soft < 0).any()) or bool(((sums - 1).abs() > SUM_TOLERANCE).any())
        kind = "logits, of which the softmax is stored" if logits else "probabilities"
        notes.append(f"its soft labels are {kind}")
    return Foreign(
        images,
        labels,
        soft=soft,
        logits=logits,
        learning_rate=_rate(found, parts["rate"]),
        unwhitened=as_tensor(found.values[original[0]]) if original and inputs else None,
        whitened=bool(original),
        space=None if inputs else "unit",
        notes=tuple(notes),
    )


def _classes_of(soft: Tensor, images: int) -> Tensor:
    """Hard labels (n,) of images that are stored class by class, as many of each."""
    classes = soft.shape[1]
    if len(soft) != images or images % classes:
        raise DataError(
            f"images with soft labels must be as many for each of {classes} classes, class by "
            f"class: got {images} images and {len(soft)} labels"
        )
    return torch.arange(classes).repeat_interleave(images // classes)


def _rate(found: Found, paths: list[Path]) -> float | None:
    if not paths:
        return None
    value = float(found.values[paths[0]])
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{paths[0].name} must hold a learning rate above 0: it holds {value}")
    return value


def _register(name: str, method: str, labels: str, title: str) -> None:
    settled: dict[str, Any] = {
        "protocol": "mtt-v1", "space": "normalized", "class_lists": "_mtt",
        "whitening": ("none", "zca"),
    }  # fmt: skip
    IMPORTS.register(name)(
        ImportFormat(
            title=title,
            method=method,
            recognises=lambda found: _has(found, labels),
            read=_read,
            **settled,
        )
    )


_register("mtt", "MTT", "labels", "MTT's images, labels and learning rate, a file each")
_register("datm", "DATM", "soft", "DATM's images, soft labels and learning rate, a file each")
