"""The tables of ``dance bench methods``, for a terminal and as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dance.bench.page import left_out
from dance.core.format import Table, mean_std, plural

Record = Mapping[str, Any]

_COLUMNS = (
    "method", ">test accuracy (%)", ">each network", ">decoded images", ">updates", ">condensing",
    ">network training", ">stored set", ">stored networks",
)  # fmt: skip
_BRIEF = ("method", ">test accuracy (%)", ">updates", ">condensing", ">network training")
_NOTE = """Accuracy: after the last epoch, mean ± standard deviation over the networks, and of each
network. Decoded images: training images of a network. Updates: steps that change the images.
Condensing: time of the steps or of the selection. Network training: time to train the experts or
trajectories that the method needs; stored networks: their size. Stored set: pixels at 8 bits."""


def tables(record: Record, *, brief: bool = False) -> list[Table]:
    """A table for each data set, number of images per class and network, best method first.

    Args:
        record: content of ``methods.json``.
        brief: with few columns, for a terminal.
    """
    shown = [_COLUMNS.index(name) for name in (_BRIEF if brief else _COLUMNS)]
    groups: dict[tuple[str, int, str, str], list[tuple[float, tuple[str, ...]]]] = {}
    for row in record["rows"]:
        for score in row["scores"]:
            made = f"{score['protocol']}, {plural(len(score['seeds']), 'network')}"
            found = groups.setdefault((row["data"], row["ipc"], score["network"], made), [])
            found.append((score["last"]["mean"], _cells(row, score)))
    return [
        Table(
            f"{data}, {plural(ipc, 'image')} per class, {network} ({made})",
            tuple(_COLUMNS[place] for place in shown),
            [
                tuple(cells[place] for place in shown)
                for _, cells in sorted(found, key=lambda pair: -pair[0])
            ],
        )
        for (data, ipc, network, made), found in groups.items()
    ]


def budget(record: Record) -> str:
    """Description of the budget that all methods had."""
    allowed = record["budget"]
    if allowed["updates"]:
        return f"{allowed['updates']} updates of the images"
    return f"{allowed['seconds']:g} seconds of condensing"


def markdown(record: Record) -> str:
    """A page for ``docs/results``."""
    rows = record["rows"]
    lines = [f"# Methods: {budget(record)}"]
    for paragraph in (
        *_unique(f"`{row['command']}`" for row in rows),
        *_unique(map(_made_on, rows)),
    ):
        lines += ["", paragraph]
    lines += ["", _NOTE]
    for table in tables(record):
        lines += table.markdown()
    return "\n".join(lines + left_out(record)) + "\n"


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _made_on(row: Record) -> str:
    machine = row["machine"]
    return (
        f"{row['made'][:10]}; {machine['device']}, {machine['cores']} cores, "
        f"torch {machine['torch']}, kernels {machine['kernels']}."
    )


def _cells(row: Record, score: Record) -> tuple[str, ...]:
    last = score["last"]
    pieces = [f"l = {row['factor']}"] if row["factor"] > 1 else []
    pieces += [row["whitening"].upper()] if row["whitening"] != "none" else []
    return (
        f"{row['title']} ({', '.join(pieces)})" if pieces else row["title"],
        mean_std(last["mean"], last["std"], len(last["values"])),
        ", ".join(f"{100 * value:.1f}" for value in last["values"]),
        f"{score['train_images']:,}",
        "" if row["updates"] is None else f"{row['updates']:,}",
        f"{row['condense_seconds']:.0f} s",
        f"{row['before_seconds']:.0f} s" if row["before_seconds"] else "",
        f"{score['storage_bytes'] / 1e3:,.0f} kB",
        f"{row['networks_bytes'] / 1e6:,.1f} MB" if row["networks_bytes"] else "",
    )
