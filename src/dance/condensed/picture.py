"""The stored images of a set as one picture, for notebooks: a row for each class."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from PIL import Image

from dance.core.format import plural, span

if TYPE_CHECKING:
    from dance.condensed.container import CondensedSet

_ROWS, _COLUMNS = 20, 10
"""Largest number of classes and of images of a class."""
_LEAST_CELL = 48
"""Smaller images are enlarged by a whole factor, to at least this many pixels."""
_GAP = 2


def grid(condensed: CondensedSet, rows: int = _ROWS, columns: int = _COLUMNS) -> Image.Image:
    """Draw the first stored images of the first classes.

    Args:
        condensed: the set.
        rows: largest number of classes.
        columns: largest number of images of a class.
    """
    resolution, images = condensed.resolution, condensed.to_uint8()
    cell = resolution * max(1, -(-_LEAST_CELL // resolution))
    shown = min(rows, condensed.num_classes)
    across = min(columns, condensed.ipc)
    size = (across * (cell + _GAP) - _GAP, shown * (cell + _GAP) - _GAP)
    picture = Image.new("RGB", size, "white")
    for row in range(shown):
        for column, image in enumerate(images[condensed.rows(row)][:across]):
            array = image.permute(1, 2, 0).contiguous().numpy()
            tile = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
            enlarged = tile.convert("RGB").resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(enlarged, (column * (cell + _GAP), row * (cell + _GAP)))
    return picture


def as_html(condensed: CondensedSet) -> str:
    """Facts, picture and scores, as a notebook shows them."""
    buffer = io.BytesIO()
    grid(condensed).save(buffer, format="PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    scores = "".join(
        f"<tr><td>{html.escape(score.network)}</td><td>{html.escape(score.setting)}</td>"
        f"<td>{score.last} %</td></tr>"
        for score in condensed.scores
    )
    table = f"<table><tr><th>network</th><th>protocol</th><th>last epoch</th></tr>{scores}</table>"
    return (
        f"<div><p>{html.escape(describe(condensed))}</p><img alt='stored images' src='{uri}'>"
        f"{table if scores else ''}</div>"
    )


def describe(condensed: CondensedSet) -> str:
    """The set in one line: method, data, shape, and the first score."""
    about = condensed.provenance
    named = " of ".join(str(about[name]) for name in ("label", "dataset") if name in about)
    counts = sorted(set(condensed.counts))
    each = span(counts[0], counts[-1]) + (" image" if counts == [1] else " images")
    side = condensed.resolution
    facts = (
        f"{plural(condensed.num_classes, 'class', 'classes')} x {each} of "
        f"{condensed.channels}x{side}x{side}",
        *(f"{score.last} % on {score.network}" for score in condensed.scores[:1]),
    )
    return f"{named or 'condensed set'}: {', '.join(facts)}"
