"""A sample of the images of a condensed set as PNG data URIs, limited in size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from dance.condensed import CondensedSet
from dance.condensed.decoders.identity import IDENTITY

_STORED_PIXELS = 600_000
"""Largest number of pixels of stored images, before and after each: about 2 MB of PNG."""
_DECODED_PIXELS = 1_500_000
"""Largest number of pixels of decoded images, which are smooth and compress better."""
_MOST_CLASSES = 20
_MOST_CLASSES_SINGLE = 100
"""Largest number of classes with one stored image each."""
_MOST_PER_CLASS = 10
_MOST_DECODED_PER_CLASS = 40
PIXELATED_UP_TO = 64
"""Largest resolution in pixels of images that are enlarged without smoothing."""


@dataclass(frozen=True)
class ClassPictures:
    """The images of one class; each is a ``data:image/png`` URI."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    decoded: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """The sample of images that the page shows."""

    classes: tuple[ClassPictures, ...]
    per_class: int
    """Stored images shown per class."""
    decoded_per_class: int
    complete: bool
    """Every stored image of every class is shown."""
    pixelated: bool
    single: bool
    """One stored image per class: the page draws cards instead of rows."""


def chosen_classes(total: int, most: int) -> list[int]:
    """At most ``most`` labels, evenly spaced over all.

    >>> chosen_classes(10, 20)[-1], chosen_classes(200, 4)
    (9, [0, 50, 100, 150])
    """
    if total <= most:
        return list(range(total))
    return [index * total // most for index in range(most)]


def gallery(condensed: CondensedSet, initial: CondensedSet | None) -> Gallery:
    """Choose and encode the images of the page.

    Args:
        condensed: the final set.
        initial: the set it started from, of the same shape; None if it was not stored.
    """
    area = condensed.resolution**2
    single = condensed.ipc == 1
    most = _MOST_CLASSES_SINGLE if single else _MOST_CLASSES
    labels = chosen_classes(condensed.num_classes, max(1, min(most, _STORED_PIXELS // area)))
    per_class = min(condensed.ipc, _MOST_PER_CLASS, max(1, _STORED_PIXELS // (area * len(labels))))
    decoded_per_class = 0
    if condensed.decoder != IDENTITY:
        decoded_per_class = min(
            condensed.decoder.images(per_class),
            _MOST_DECODED_PER_CLASS,
            max(1, _DECODED_PIXELS // (area * len(labels))),
        )
    comparable = initial is not None and initial.counts == condensed.counts
    after = condensed.to_uint8()
    before = initial.to_uint8() if initial is not None and comparable else None
    shown = []
    for label in labels:
        rows = condensed.rows(label)
        stored = slice(rows.start, min(rows.stop, rows.start + per_class))
        decoded: tuple[str, ...] = ()
        if decoded_per_class:  # one class at a time bounds the memory
            images = condensed.decode([label])[0][:decoded_per_class]
            decoded = _encode(eight_bit(images))
        shown.append(
            ClassPictures(
                name=condensed.classes[label],
                before=_encode(before[stored]) if before is not None else (),
                after=_encode(after[stored]),
                decoded=decoded,
            )
        )
    return Gallery(
        classes=tuple(shown),
        per_class=per_class,
        decoded_per_class=decoded_per_class,
        complete=len(labels) == condensed.num_classes and per_class == condensed.ipc,
        pixelated=condensed.resolution <= PIXELATED_UP_TO,
        single=single,
    )


def eight_bit(images: Tensor) -> Tensor:
    """Float images in unit space as uint8, clamped and rounded, on the CPU; any shape."""
    return (images.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def to_pillow(image: Tensor) -> Image.Image:
    """A (C, S, S) uint8 tensor as a grey or RGB picture."""
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def data_uri(image: Tensor) -> str:
    """A (C, S, S) uint8 tensor as ``data:image/png;base64,…``."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _encode(images: Tensor) -> tuple[str, ...]:
    return tuple(data_uri(image) for image in images)
