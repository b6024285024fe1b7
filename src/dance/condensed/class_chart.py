"""The accuracy of each class, as a picture for notebooks."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from dance.condensed.score import Score
from dance.core.errors import ConfigError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of Okabe and Ito, which colour-blind people tell apart, of all charts in pictures."""
_MOST_CLASSES = 25
_MOST_CHARACTERS = 18
"""Largest number of characters of a name under the bars."""


def draw_classes(classes: Sequence[str], scores: Sequence[Score]) -> Image.Image:
    """Draw a bar for each class and score; see :meth:`CondensedSet.plot_classes`.

    Args:
        classes: K names.
        scores: of K classes each.

    Raises:
        ConfigError: there is no score, or one is of another number of classes.
    """
    if not scores:
        raise ConfigError(
            "a chart of classes needs a score: this set has none; score it by "
            "dance.evaluate(condensed), or give scores"
        )
    for score in scores:
        if score.num_classes != len(classes):
            raise ConfigError(
                f"the scores must be of the {len(classes)} classes of this set: got one of "
                f"{score.num_classes}"
            )
    from matplotlib.figure import Figure  # it takes a third of a second, which others need not wait

    shown = list(range(len(classes)))
    if len(shown) > _MOST_CLASSES:
        shown = sorted(shown, key=lambda label: scores[0].per_class[label])[:_MOST_CLASSES]
    names = [_short(classes[label]) for label in shown]
    figure = Figure(figsize=(max(6.0, 0.6 * len(shown)), 3.6), layout="constrained")
    axis = figure.add_subplot()
    width = 0.8 / len(scores)
    for place, score in enumerate(scores):
        axis.bar(
            [column - 0.4 + (place + 0.5) * width for column in range(len(shown))],
            [100 * score.per_class[label] for label in shown],
            width,
            color=COLOURS[place % len(COLOURS)],
            label=f"{score.label}, {score.network}: {score.last} %",
        )
    upright = max(map(len, names)) > 6
    axis.set_xticks(range(len(shown)), names, rotation=90 if upright else 0, parse_math=False)
    axis.set_ylim(0, 100)
    axis.set_ylabel("test accuracy (%)")
    if len(shown) < len(classes):
        axis.set_title(f"The {len(shown)} of {len(classes)} classes with the lowest accuracy")
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=96)
    return Image.open(buffer)


def _short(name: str) -> str:
    """A name in one short line of printable characters."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 1]}…"
