"""Images as 8-bit pictures: one, many in one picture, as files and as HTML for notebooks."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from dance.core.errors import ConfigError

_LEAST_CELL = 48
"""Smaller images are enlarged by a whole factor, to at least this many pixels."""
_GAP = 2
MOST_COLUMNS = 20
"""Largest number of classes that a picture shows, unless more are asked for."""


def to_bytes(images: Tensor) -> Tensor:
    """Float images in unit space as uint8, clamped and rounded, on the CPU; any shape."""
    return (images.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def to_pillow(image: Tensor) -> Image.Image:
    """A (C, S, S) uint8 tensor, C 1 or 3, as a grey or RGB picture."""
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def as_png(picture: Image.Image, optimize: bool = False) -> bytes:
    """A picture as the content of a PNG file.

    Args:
        picture: to encode.
        optimize: whether to spend time for a smaller file.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=optimize)
    return buffer.getvalue()


def columns(classes: int, per_class: int, available: int) -> range:
    """The labels of the classes that a picture shows, a column each.

    Args:
        classes: largest number of classes.
        per_class: largest number of images of a class.
        available: number of classes that there are.

    Raises:
        ConfigError: one of the former is below 1.
    """
    if min(classes, per_class) < 1:
        raise ConfigError(
            "a picture must show at least one class and one image of each: got "
            f"classes={classes}, per_class={per_class}"
        )
    return range(min(classes, available))


def grid(classes: Sequence[Tensor]) -> Image.Image:
    """Draw images, a column for each class.

    Args:
        classes: images (n, C, S, S) uint8 on the CPU of each class; n may differ.
    """
    resolution = classes[0].shape[-1]
    cell = resolution * max(1, -(-_LEAST_CELL // resolution))
    down = max(1, *map(len, classes))
    size = (len(classes) * (cell + _GAP) - _GAP, down * (cell + _GAP) - _GAP)
    picture = Image.new("RGB", size, "white")
    for column, images in enumerate(classes):
        for row, image in enumerate(images):
            tile = to_pillow(image).convert("RGB")
            enlarged = tile.resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(enlarged, (column * (cell + _GAP), row * (cell + _GAP)))
    return picture


def as_html(caption: str, picture: Image.Image, classes: Sequence[str]) -> str:
    """A picture as a notebook shows it.

    Args:
        caption: above the picture.
        picture: to show.
        classes: names of its columns.
    """
    uri = "data:image/png;base64," + base64.b64encode(as_png(picture)).decode("ascii")
    names = html.escape(", ".join(classes))
    return (
        f'<p>{html.escape(caption)}</p><img alt="one column for each class: {names}" '
        f'src="{uri}"><p>One column for each class: {names}</p>'
    )
