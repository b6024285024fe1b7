"""Print results on stdout, as tables or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dance.core.progress import duration

if TYPE_CHECKING:  # torch comes with it, which no help text needs
    from dance.condensed.score import Score, Statistic

_PIPED_WIDTH = 120
"""Width in characters of tables that are written to a file or to another program."""


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object; paths become strings."""
    print(json.dumps(content, indent=1, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table, at most as wide as the terminal, or 120 characters wide if there is none.

    Args:
        columns: names; a column whose name starts with ``>`` is aligned right, and it does not
            wrap; nor does one whose name starts with ``<``.
        rows: cells.
        title: printed above the table.
    """
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(
            column.lstrip("<>"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column.startswith(("<", ">")),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPED_WIDTH)
    with console.capture() as text:  # rich would end the process when a pipe breaks
        console.print(table)
    print(text.get(), end="")


def percent(statistic: Statistic) -> str:
    """Format mean and standard deviation of accuracies, given in [0, 1], in percent.

    >>> from dance.condensed.score import Statistic
    >>> percent(Statistic(values=(0.7058, 0.7104), mean=0.7081, std=0.0033, ci95=None))
    '70.8 ± 0.3'
    """
    return f"{100 * statistic.mean:.1f} ± {100 * statistic.std:.1f}"


def format_bytes(count: int | None) -> str:
    """Format a number of bytes with a unit.

    >>> format_bytes(3_400_000), format_bytes(None)
    ('3.4 MB', 'unknown')
    """
    if count is None:
        return "unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def format_seconds(seconds: float) -> str:
    """Format a duration in seconds; below one second, in milliseconds.

    >>> format_seconds(0.0123), format_seconds(75)
    ('12.3 ms', '1 min 15 s')
    """
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else duration(seconds)


def print_scores(scores: Sequence[Score]) -> None:
    """Print a row for every score; scores with soft labels have a table of their own."""
    if not scores:
        print("Not scored.")
        return
    kinds = dict.fromkeys(score.labels for score in scores)
    for kind in kinds:
        comparable = [score for score in scores if score.labels == kind]
        title = "" if kind == "hard" else f"Networks that learned {kind} labels"
        _print_comparable(comparable, title)
    protocols = dict.fromkeys(f"{score.protocol}, {score.repeats} networks" for score in scores)
    print(f"Test accuracy, mean ± standard deviation; protocol {' and '.join(protocols)}.")
    print("Compare last epochs: the best epoch is chosen on test images.")
    if len(kinds) > 1:
        print("Do not compare hard with soft labels: soft labels contain the experts' knowledge.")


def _print_comparable(scores: Sequence[Score], title: str) -> None:
    """Print one table; the last epoch comes first, because no test image has chosen it."""
    columns = ("trained on", "network", ">last epoch %", ">best epoch %", ">images", ">epochs")
    rows = [
        (
            score.label,
            score.network,
            percent(score.last),
            percent(score.best),
            str(score.train_images),
            str(score.epochs),
        )
        for score in scores
    ]
    print_table(columns, rows, title)
