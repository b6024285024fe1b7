"""Images that a Python program holds: arrays, tensors, or a data set of (image, label) pairs.

They are registered under a name that is made from their content, so that the same images have the
same name in another process, and are found there once they have been registered again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dance.core.errors import DataError
from dance.data.arrays import Arrays, axis_notes, image_array, label_array
from dance.data.config import DataConfig
from dance.data.imageset import ImageSet
from dance.data.labels import Raw, number
from dance.data.sources import SOURCES, Layout, Pixels, Source

SCHEME = "memory:"
_REGISTERED: dict[str, Memory] = {}
"""The registered sets of this process by location."""


class Memory(Arrays):
    """Arrays in memory; the digests are those of their content."""

    def __init__(self, classes: tuple[str, ...], splits: Any, notes: tuple[str, ...]) -> None:
        digest = hashlib.sha256(repr(classes).encode())
        for split, (images, labels) in splits.items():
            digest.update(f"{split} {len(labels)}".encode() + labels.tobytes())
            for image in images:
                digest.update(str(image.shape).encode() + image.tobytes())
        self.digest = digest.hexdigest()
        super().__init__(f"memory-{self.digest[:12]}", classes, splits, (), notes)

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """An empty list: the digests are those of the arrays."""
        return []

    def stamp(self, keep: Collection[int]) -> str:
        """Hex digest of the arrays."""
        return self.digest

    def content(self, keep: Collection[int]) -> str:
        """Hex digest of the arrays."""
        return self.digest


def register(train: object, test: object = None) -> str:
    """Make images in memory known to this process under a name of their own.

    They stay in memory until the process ends.

    Args:
        train: ``(images, labels)``, with images (N, H, W), (N, H, W, C) or (N, C, H, W) as uint8 or
            floats in [0, 1] and labels (N,) of whole numbers or text, each an array, a tensor or a
            list; a map-style data set whose items are (image, label), the image a PIL image, array
            or tensor; or an :class:`ImageSet`.
        test: the unseen images, in one of the same forms; None to hold some out.

    Returns:
        The location, ``memory:`` and a digest of the content, that :func:`dance.data.load` takes.

    Raises:
        DataError: the data has another form, or values that cannot be used.
    """
    images: dict[str, Any] = {}
    raw: dict[str, Raw] = {}
    names: dict[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()
    for split, data in (("train", train), ("test", test)):
        if data is not None:
            images[split], raw[split], classes = _read(data, split)
            if classes:
                names[split] = classes
            if isinstance(data, tuple | list) and _is_batch(data[0]):
                notes += axis_notes(f"the array of the {split} split", _array(data[0]))
    labelled = number("the data", raw, names)
    splits = {split: (images[split], labelled.labels[split]) for split in images}
    made = Memory(labelled.classes, splits, (*labelled.notes, *notes))
    location = f"{SCHEME}{made.digest[:16]}"
    _REGISTERED.setdefault(location, made)
    return location


def _read(data: Any, split: str) -> tuple[Any, Raw, tuple[str, ...]]:
    """Images, labels and class names (empty: none are known) of one split."""
    if isinstance(data, ImageSet):
        pixels = data.images.permute(0, 2, 3, 1).numpy()
        return image_array("images", pixels), data.labels.numpy(), data.classes
    if isinstance(data, tuple | list) and len(data) == 2 and _is_batch(data[0]):
        images = image_array(f"the images of the {split} split", _array(data[0]))
        return images, label_array("the labels", _array(data[1]), len(images)), ()
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        return _read_items(data)
    raise DataError(
        "data must be a name, a path, (images, labels), or a data set with a length whose items "
        f"are (image, label): got {type(data).__name__}"
    )


def _is_batch(images: object) -> bool:
    """Whether this is an array of many images and not one item of a data set."""
    return len(getattr(images, "shape", ())) in (3, 4) or (
        isinstance(images, list) and bool(images) and not isinstance(images[0], tuple)
    )


def _read_items(data: Any) -> tuple[list[Pixels], Raw, tuple[str, ...]]:
    """The items of a map-style data set, one after the other; each is read once."""
    images: list[Pixels] = []
    labels: list[Any] = []
    for row in range(len(data)):
        item = data[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                "items of the data set must be (image, label): item "
                f"{row} is {type(item).__name__}"
                + (f" of {len(item)} parts" if isinstance(item, tuple | list | dict) else "")
            )
        images.append(_image(item[0], row))
        labels.append(item[1].item() if hasattr(item[1], "item") else item[1])
    raw = label_array("the labels", _array(labels), len(images))
    classes = getattr(data, "classes", None)
    if isinstance(raw, list) or not isinstance(classes, list | tuple):
        return images, raw, ()
    return images, raw, tuple(map(str, classes))


def _image(image: Any, row: int) -> Pixels:
    """One image (H, W) or (H, W, C) uint8."""
    if isinstance(image, Image.Image):
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
        return np.asarray(image)
    array = _array(image)
    if array.ndim not in (2, 3):
        raise DataError(
            f"images must be PIL images, (H, W), (H, W, C) or (C, H, W): item {row} has shape "
            f"{array.shape}"
        )
    pixels: Pixels = image_array(f"the image of item {row}", array[None])[0]
    return pixels


def _array(values: Any) -> Any:
    """An array, tensor or list as an array."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, Sequence) and values and isinstance(values[0], torch.Tensor):
        return np.stack([_array(value) for value in values])
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"images of one array must have one shape: {error}") from error
    if array.dtype == object:
        raise DataError(f"arrays must hold numbers or text: got objects such as {values[0]!r:.80}")
    return array


def _open(location: str, config: DataConfig) -> Source:
    if location not in _REGISTERED:
        raise DataError(
            f"the images of {location} must be in the memory of this program, and are not: give "
            "them again, as in dance.evaluate(..., data=(images, labels))"
        )
    return _REGISTERED[location]


SOURCES.register("memory")(
    Layout(
        title="images in memory",
        recognises=lambda location: location.startswith(SCHEME),
        open=_open,
    )
)
