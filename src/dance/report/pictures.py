"""A sample of the images of a condensed set as data URIs, limited in size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from dance.condensed import CondensedSet
from dance.condensed.decoders.identity import IDENTITY
from dance.core import format

_MOST_CHARACTERS = 800_000
"""Largest size of all images of a page, so that the page has about 1 MB at most."""
_MARKUP = 250
"""Characters of HTML around an image."""
_PLANS: tuple[tuple[int, int, int | None], ...] = (
    (1, 1, None), (1, 4, None), (1, 4, 90), (1, 4, 75), (1, 20, 75), (2, 20, 75), (4, 40, 75),
    (8, 40, 75), (16, 40, 75), (32, 40, 75), (64, 40, 75),
)  # fmt: skip
"""How the sample is made smaller until it fits: one of how many stored images, one of how many
decoded ones, and the quality of WebP from 0 to 100 (None: PNG, without loss)."""
_LARGEST = 256
"""Larger images are shrunk to this number of pixels on each side."""
_MOST_CLASSES = 20
_MOST_CLASSES_SINGLE = 100
"""Largest number of classes with one stored image each."""
_MOST_PER_CLASS = 10
_MOST_DECODED_PER_CLASS = 40
PIXELATED_UP_TO = 64
"""Largest resolution in pixels of images that are enlarged without smoothing."""


@dataclass(frozen=True)
class ClassPictures:
    """The images of one class; each is a data URI."""

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
    coding: str
    """How the images are stored in the page, if not without loss; else empty."""


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
    *plans, last = _PLANS
    for plan in plans:
        found = _sample(condensed, initial, *plan, most=_MOST_CHARACTERS)
        if found is not None:
            return found
    found = _sample(condensed, initial, *last)
    assert found is not None  # it has no limit
    return found


def _sample(
    condensed: CondensedSet,
    initial: CondensedSet | None,
    part: int,
    decoded_part: int,
    quality: int | None,
    *,
    most: int | None = None,
) -> Gallery | None:
    """A gallery, or None if it exceeds ``most`` characters.

    Args:
        condensed: the final set.
        initial: the set it started from, if it was stored.
        part: of how many stored images one is shown: fewer of each class, then fewer classes.
        decoded_part: of how many decoded images of a class one is shown.
        quality: of WebP (None: PNG).
        most: characters of all images (None: any number).
    """
    single = condensed.ipc == 1
    per_class = min(condensed.ipc, max(1, _MOST_PER_CLASS // part))
    fewer = max(1, part // _MOST_PER_CLASS if not single else part)
    classes = max(1, (_MOST_CLASSES_SINGLE if single else _MOST_CLASSES) // fewer)
    labels = chosen_classes(condensed.num_classes, classes)
    decoded_per_class = 0
    if condensed.decoder != IDENTITY:
        decoded_per_class = min(
            condensed.decoder.images(per_class), max(1, _MOST_DECODED_PER_CLASS // decoded_part)
        )
    comparable = initial is not None and initial.counts == condensed.counts
    after = condensed.to_uint8()
    before = initial.to_uint8() if initial is not None and comparable else None
    characters, shown = 0, []
    for label in labels:
        rows = condensed.rows(label)
        stored = slice(rows.start, min(rows.stop, rows.start + per_class))
        decoded: tuple[str, ...] = ()
        if decoded_per_class:  # one class at a time bounds the memory
            images = condensed.decode([label])[0][:decoded_per_class]
            decoded = _encode(eight_bit(images), quality)
        pictures = ClassPictures(
            name=condensed.classes[label],
            before=_encode(before[stored], quality) if before is not None else (),
            after=_encode(after[stored], quality),
            decoded=decoded,
        )
        each = (*pictures.before, *pictures.after, *pictures.decoded)
        characters += sum(map(len, each)) + _MARKUP * len(each)
        if most is not None and characters > most:
            return None
        shown.append(pictures)
    codings = [f"shrunk to {format.square(_LARGEST)} pixels"]
    codings = codings if condensed.resolution > _LARGEST else []
    codings += [] if quality is None else [f"stored in this page as WebP of quality {quality}"]
    return Gallery(
        classes=tuple(shown),
        per_class=per_class,
        decoded_per_class=decoded_per_class,
        complete=len(labels) == condensed.num_classes and per_class == condensed.ipc,
        pixelated=condensed.resolution <= PIXELATED_UP_TO,
        single=single,
        coding=", ".join(codings),
    )


def eight_bit(images: Tensor) -> Tensor:
    """Float images in unit space as uint8, clamped and rounded, on the CPU; any shape."""
    return (images.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def to_pillow(image: Tensor) -> Image.Image:
    """A (C, S, S) uint8 tensor as a grey or RGB picture."""
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def data_uri(image: Tensor, quality: int | None = None) -> str:
    """A (C, S, S) uint8 tensor as ``data:image/…;base64,…``.

    Args:
        image: of any resolution; more than 256 pixels are shrunk.
        quality: of WebP, from 0 to 100 (None: PNG, without loss).
    """
    buffer, picture = io.BytesIO(), to_pillow(image)
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    if quality is None:
        picture.save(buffer, format="PNG", optimize=True)
    else:
        picture.save(buffer, format="WEBP", quality=quality)
    kind = "png" if quality is None else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _encode(images: Tensor, quality: int | None) -> tuple[str, ...]:
    return tuple(data_uri(image, quality) for image in images)
