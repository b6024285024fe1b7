"""The stored images of a set as one picture, for notebooks: a row for each class."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from dance.condensed.score import Score

_LEAST_CELL = 48
"""Smaller images are enlarged by a whole factor, to at least this many pixels."""
_GAP = 2


def grid(rows: Sequence[Tensor]) -> Image.Image:
    """Draw images in rows.

    Args:
        rows: images (n, C, S, S) uint8 on the CPU; n may differ.
    """
    resolution = rows[0].shape[-1]
    cell = resolution * max(1, -(-_LEAST_CELL // resolution))
    across = max(map(len, rows))
    size = (across * (cell + _GAP) - _GAP, len(rows) * (cell + _GAP) - _GAP)
    picture = Image.new("RGB", size, "white")
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            array = image.permute(1, 2, 0).contiguous().numpy()
            tile = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
            enlarged = tile.convert("RGB").resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(enlarged, (column * (cell + _GAP), row * (cell + _GAP)))
    return picture


def as_html(caption: str, picture: Image.Image, scores: Sequence[Score]) -> str:
    """Caption, picture and scores, as a notebook shows them."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    rows = "".join(
        f"<tr><td>{html.escape(score.network)}</td><td>{html.escape(score.setting)}</td>"
        f"<td>{score.last} %</td></tr>"
        for score in scores
    )
    table = f"<table><tr><th>network</th><th>protocol</th><th>last epoch</th></tr>{rows}</table>"
    return (
        f"<div><p>{html.escape(caption)}</p><img alt='stored images' src='{uri}'>"
        f"{table if rows else ''}</div>"
    )
