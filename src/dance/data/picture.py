"""Images of several classes as one picture, and as HTML for notebooks."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

_LEAST_CELL = 48
"""Smaller images are enlarged by a whole factor, to at least this many pixels."""
_GAP = 2
MOST_COLUMNS = 20
"""Largest number of classes that a picture shows, unless more are asked for."""


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
            array = image.permute(1, 2, 0).contiguous().numpy()
            tile = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
            enlarged = tile.convert("RGB").resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(enlarged, (column * (cell + _GAP), row * (cell + _GAP)))
    return picture


def as_html(caption: str, picture: Image.Image, classes: Sequence[str]) -> str:
    """A picture as a notebook shows it.

    Args:
        caption: above the picture.
        picture: to show.
        classes: names of its columns.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    names = html.escape(", ".join(classes))
    return (
        f'<p>{html.escape(caption)}</p><img alt="one column for each class: {names}" '
        f'src="{uri}"><p>One column for each class: {names}</p>'
    )
