"""Results on stdout: tables for people, one JSON object for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dance.core.progress import duration

_PIPED = 120
"""Letters in a line of a table that goes into a file or another program."""


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object; paths become text."""
    print(json.dumps(content, indent=1, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """A table as wide as it needs to be.

    Columns whose name starts with ``>`` are right-aligned; these and those with ``<`` never wrap.
    What is no terminal has room for 120 letters.
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
        console.width = max(console.width, _PIPED)
    with console.capture() as drawn:  # rich would end the process when a pipe breaks
        console.print(table)
    print(drawn.get(), end="")


def percent(statistic: Mapping[str, Any]) -> str:
    """Mean and standard deviation of accuracies in percent.

    >>> percent({"mean": 0.7081, "std": 0.0023})
    '70.8 ± 0.2'
    """
    spread = "" if statistic.get("std") is None else f" ± {100 * statistic['std']:.1f}"
    return f"{100 * statistic['mean']:.1f}{spread}"


def amount(count: int | None) -> str:
    """Bytes as people say them.

    >>> amount(3_400_000), amount(None)
    ('3.4 MB', 'unknown')
    """
    if count is None:
        return "unknown"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def moment(seconds: float) -> str:
    """Seconds as people say them, milliseconds where they are few.

    >>> moment(0.0123), moment(75)
    ('12.3 ms', '1 min 15 s')
    """
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else duration(seconds)


def print_scores(scores: Sequence[Mapping[str, Any]]) -> None:
    """A row for every score, those with soft labels in a table of their own."""
    if not scores:
        print("Not scored.")
        return
    kinds = dict.fromkeys(score.get("labels", "hard") for score in scores)
    for kind in kinds:
        own = [score for score in scores if score.get("labels", "hard") == kind]
        _print_comparable(own, "" if kind == "hard" else f"Networks that learned {kind} labels")
    made = dict.fromkeys(f"{score['protocol']}, {score['repeats']} networks" for score in scores)
    print(f"Test accuracy, mean ± standard deviation; protocol {' and '.join(made)}.")
    print("Compare last epochs: the best epoch is chosen on test images.")
    if len(kinds) > 1:
        print("Hard and soft labels are not to be compared: soft ones are knowledge of experts.")


def _print_comparable(scores: Sequence[Mapping[str, Any]], title: str) -> None:
    """A table; the honest statistic first."""
    columns = ("trained on", "network", ">last epoch %", ">best epoch %", ">images", ">epochs")
    rows = [
        (
            str(score["label"]),
            str(score["network"]),
            percent(score["last"]),
            percent(score["best"]),
            str(score["train_images"]),
            str(score["epochs"]),
        )
        for score in scores
    ]
    print_table(columns, rows, title)
