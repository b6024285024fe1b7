"""Figure 4 of the DANCE paper: the condensed images.

The images are shown as they are stored, a grid of smaller ones each where a set is factored, with
pixels clamped to [0, 1] in 8 bits, each enlarged by a whole number without smoothing. Every row of
the data is one image, as PNG in base64.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Picture
from PIL import Image
from torch import Tensor

from dance.bench.figures import FIGURES, Figure, Finished, Row
from dance.bench.figures.chart import framed, grouped
from dance.condensed import load_set
from dance.core.config import AtLeastOne, configuration
from dance.core.format import plural, square
from dance.data.picture import as_png, to_pillow

_CELL = 128
"""Width of an image in pixels, about."""
_GAP = 6
_HEADER = 40
"""Height of the names of the classes, in pixels."""
_PIXELS = 150
"""Pixels per inch."""


@configuration
class Fig4Settings:
    """Settings of the figure."""

    classes: AtLeastOne = 10
    """Largest number of classes of a set; of more, evenly spaced ones are shown."""
    images: AtLeastOne = 10
    """Largest number of images of a class."""


def measure(bench: Finished) -> list[Row]:
    """A row for each image: its class is the column, and its number the row of the grid."""
    rows: list[Row] = []
    for cell in bench.cells:
        content = load_set(cell.place(bench.directory))
        images, total = content.to_uint8(), content.num_classes
        count = min(total, bench.settings.classes)
        for x, label in enumerate(place * total // count for place in range(count)):
            shown = images[content.rows(label)][: bench.settings.images]
            for y, image in enumerate(shown):
                rows.append(
                    {
                        "data": cell.config.data, "ipc": cell.config.ipc,
                        "method": cell.config.method, "seed": cell.config.seed,
                        "series": cell.label, "budget": cell.budget,
                        "class": content.classes[label], "x": x, "x_unit": "class",
                        "y": y, "y_unit": "image", "pixels": content.resolution,
                        "png": _png(image), "run": f"cells/{cell.name}",
                    }
                )  # fmt: skip
    return rows


def draw(rows: Sequence[Row], text: str) -> Picture:
    """One grid for each set, a column for each class."""
    sets = list(grouped(rows, lambda row: row["run"]).values())
    grids = [montage(members) for members in sets]
    width = max(grid.shape[1] for grid in grids) + 2 * _CELL // 4
    height = sum(grid.shape[0] + 2 * _HEADER for grid in grids)
    top, picture = framed(rows[0]["title"], text, width / _PIXELS, height / _PIXELS + 0.5)
    axes = top.subplots(
        len(grids), 1, squeeze=False, height_ratios=[grid.shape[0] for grid in grids]
    ).flatten()
    for axis, members, grid in zip(axes, sets, grids, strict=True):
        first = members[0]
        images = f"{plural(first['ipc'], 'image')} per class, {square(first['pixels'])} pixels"
        about = f"{first['series']}, {first['data']}, {images}, seed {first['seed']}"
        about += f"; {first['budget']}" if first["budget"] else ""
        axis.set_title(about, fontsize=9.5, pad=20)
        axis.imshow(grid, interpolation="nearest")
        axis.set_axis_off()
        step = grid.shape[1] / (1 + max(row["x"] for row in members))
        for x, name in {row["x"]: row["class"] for row in members}.items():
            axis.text(
                (x + 0.5) * step, -8, textwrap.shorten(str(name), 20, placeholder="…"),
                ha="center", va="bottom", fontsize=7, wrap=False,
            )  # fmt: skip
    return picture


def montage(rows: Sequence[Row]) -> npt.NDArray[np.uint8]:
    """The images of one set beside each other, (H,W,3) uint8."""
    images = [np.asarray(_image(row["png"])) for row in rows]
    side = images[0].shape[0]
    times = max(1, round(_CELL / side))
    cell = side * times + _GAP
    shape = (1 + max(row["y"] for row in rows), 1 + max(row["x"] for row in rows))
    grid = np.full((shape[0] * cell, shape[1] * cell, 3), 255, np.uint8)
    for row, image in zip(rows, images, strict=True):
        top, left = row["y"] * cell, row["x"] * cell
        large = image.repeat(times, 0).repeat(times, 1)
        grid[top : top + side * times, left : left + side * times] = large
    return grid


def _png(image: Tensor) -> str:
    """An image (C,S,S) uint8 as PNG in base64."""
    return base64.b64encode(as_png(to_pillow(image), optimize=True)).decode("ascii")


def _image(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


FIGURES.register("fig4")(
    Figure(
        measure=measure,
        draw=draw,
        definition="Condensed images as they are stored, enlarged by a whole number without "
        "smoothing. A factored image is a grid of smaller ones.",
        settings=Fig4Settings,
    )
)
