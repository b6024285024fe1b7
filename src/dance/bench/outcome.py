"""The results of a bench: rows with statistics over condensations and networks, and their files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from dance.bench.plan import Bench, Cell
from dance.condensed import Score
from dance.condensed.statistics import Difference, paired, summary, welch
from dance.core import format
from dance.core.config import flat, to_plain
from dance.core.costs import build_seconds
from dance.core.files import read_json, write_atomic, write_json, write_text
from dance.core.format import Table
from dance.methods import METHODS
from dance.recipes.published import table

NAME = "results"
_SEEDS, _NETWORKS = "condensations", "networks"
_NOTE = """Accuracy on test images after the last epoch, in percent: the mean over condensations of
the mean over networks (n: condensations x networks of each), with the 95 % interval of that mean by
Student's t. The interval is over condensations; with a single one it is over networks, and says
nothing about another condensation. "Over condensations" is the standard deviation of the means of
the sets, "over networks" that of the networks of one set. A difference is to the first row of its
table with the 95 % interval: paired over condensations of the same seed, or over networks (Welch)
if there is one condensation only. The verdict is "better" or "worse" only if the interval excludes
zero. The best epoch is chosen on test images, and only shown for papers that report it."""


@dataclass(frozen=True)
class Spread:
    """Accuracies of networks that were trained on sets of several condensation seeds; fractions.

    Attributes:
        by_seed: of each network, by seed of the condensation.
    """

    by_seed: Mapping[int, Sequence[float]]

    @property
    def means(self) -> dict[int, float]:
        """Mean over the networks of each set."""
        return {seed: math.fsum(v) / len(v) for seed, v in self.by_seed.items()}

    @property
    def mean(self) -> float:
        """Mean over condensations of the means over networks."""
        return summary(list(self.means.values())).mean

    @property
    def over_condensations(self) -> float | None:
        """Standard deviation of the means of the sets; None for a single one."""
        return summary(list(self.means.values())).std if len(self.by_seed) > 1 else None

    @property
    def over_networks(self) -> float | None:
        """Pooled standard deviation of the networks of one set; None for single networks."""
        spreads = [(len(v) - 1, summary(v).std ** 2) for v in self.by_seed.values()]
        freedom = sum(count for count, _ in spreads)
        if not freedom:
            return None
        return math.sqrt(math.fsum(count * square for count, square in spreads) / freedom)

    @property
    def interval(self) -> tuple[tuple[float, float] | None, str]:
        """The 95 % interval of the mean, and what it is over; None for a single network."""
        if len(self.by_seed) > 1:
            return summary(list(self.means.values())).ci95, _SEEDS
        (values,) = self.by_seed.values()
        return summary(values).ci95, _NETWORKS if len(values) > 1 else ""

    def minus(self, other: Spread) -> tuple[Difference | None, str]:
        """The difference of the means, and over what its interval is; None if there is none."""
        mine, theirs = self.means, other.means
        common = [seed for seed in mine if seed in theirs]
        if len(common) > 1:
            return paired([mine[s] for s in common], [theirs[s] for s in common]), _SEEDS
        ours, others = ([v for each in s.by_seed.values() for v in each] for s in (self, other))
        if len(mine) == len(theirs) == 1 and min(len(ours), len(others)) > 1:
            return welch(ours, others), _NETWORKS
        return None, ""


def verdict(gap: Difference | None) -> str:
    """Whether the interval of a difference excludes zero, in words."""
    if gap is None:
        return ""
    return "better" if gap.low > 0 else "worse" if gap.high < 0 else "not shown to differ"


@dataclass(frozen=True)
class Row:
    """The scores of one method at one point of the axes, by one protocol with one network."""

    cell: Cell
    cells: tuple[Cell, ...]
    scores: Mapping[int, Score]
    best: Spread
    last: Spread
    costs: Mapping[str, float | None]

    @property
    def table_key(self) -> tuple[Any, ...]:
        """Only rows in which this is equal stand in one table."""
        score = next(iter(self.scores.values()))
        budget = score.storage_bytes // score.num_classes
        return self.cell.config.data, score.dataset, score.network, score.setting, budget


def collect(cells: Sequence[Cell], directory: Path) -> list[list[Row]]:
    """The rows of the results that exist, in the order of the plan, by table.

    Raises:
        ArtifactError: a file of a run is damaged.
    """
    groups: dict[tuple[Any, ...], list[tuple[Cell, Score]]] = {}
    for cell in cells:
        for score in cell.scores(directory) if cell.finished(directory) else ():
            key = (*cell.kind, score.setting, score.network)
            groups.setdefault(key, []).append((cell, score))
    tables: dict[tuple[Any, ...], list[Row]] = {}
    for found in groups.values():
        runs = [read_json(cell.place(directory) / "costs.json") for cell, _ in found]
        row = Row(
            found[0][0],
            tuple(cell for cell, _ in found),
            {cell.config.seed: score for cell, score in found},
            Spread({cell.config.seed: score.best.values for cell, score in found}),
            Spread({cell.config.seed: score.last.values for cell, score in found}),
            {
                "build_seconds": _mean([build_seconds(costs) for costs in runs]),
                "score_seconds": _mean([score.seconds for _, score in found]),
            },
        )
        tables.setdefault(row.table_key, []).append(row)
    return list(tables.values())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def records(
    rows: Sequence[Sequence[Row]], cells: Sequence[Cell], failed: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One plain record for each row, accuracies in percent, and one for each cell without result.

    Args:
        rows: by table.
        cells: of the plan.
        failed: reasons by name of a cell.
    """
    found = [_record(row, members[0]) for members in rows for row in members]
    made = {cell.name for members in rows for row in members for cell in row.cells}
    for cell in cells:
        if cell.name not in made:
            empty = dict.fromkeys(_COLUMNS)
            reason = failed.get(cell.name, "")
            state = {"status": "failed" if reason else "not run", "reason": reason}
            found.append(empty | _identity(cell) | state | {"runs": f"cells/{cell.name}"})
    return found


def _identity(cell: Cell) -> dict[str, Any]:
    config = cell.config
    return {
        "data": config.data,
        "ipc": config.ipc,
        "method": config.method,
        "point": cell.point_text,
        "budget": cell.budget,
    }


def _record(row: Row, first: Row) -> dict[str, Any]:
    """Plain values of a row, whose difference is to the first of its table."""
    score, last = next(iter(row.scores.values())), row.last
    interval, over = last.interval
    gap, by = last.minus(first.last) if row is not first else (None, "")
    values = {
        "network": score.network,
        "protocol": score.protocol,
        "labels": score.labels,
        "bytes_per_class": row.table_key[-1],
        "status": "done",
        "accuracy": last.mean,
        "over_condensations": last.over_condensations,
        "over_networks": last.over_networks,
        "condensations": len(last.by_seed),
        "networks": score.repeats,
        "low": interval and interval[0],
        "high": interval and interval[1],
        "interval_over": over,
        "best_epoch": row.best.mean,
        "difference": gap and gap.mean,
        "difference_low": gap and gap.low,
        "difference_high": gap and gap.high,
        "difference_over": by,
        "verdict": verdict(gap),
        "storage_bytes": score.storage_bytes,
        **row.costs,
        "runs": " ".join(f"cells/{cell.name}" for cell in row.cells),
    }
    values |= {name: 100 * values[name] for name in _PERCENT if values[name] is not None}
    made = dict.fromkeys(_COLUMNS) | _identity(row.cell) | values | _published(row, last.mean)
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in made.items()}


_PERCENT = (
    "accuracy", "over_condensations", "over_networks", "low", "high", "best_epoch", "difference",
    "difference_low", "difference_high",
)  # fmt: skip
_COLUMNS = (
    "data", "ipc", "method", "point", "network", "protocol", "labels", "bytes_per_class", "budget",
    "status", "accuracy", "over_condensations", "over_networks", "condensations", "networks",
    "low", "high", "interval_over", "best_epoch", "difference", "difference_low",
    "difference_high", "difference_over", "verdict", "published", "published_std",
    "published_source", "minus_published", "storage_bytes", "build_seconds", "score_seconds",
    "runs", "reason",
)  # fmt: skip
_NUMBERS = (
    *_PERCENT, "published", "published_std", "minus_published", "build_seconds", "score_seconds",
)  # fmt: skip
_COUNTS = ("ipc", "bytes_per_class", "condensations", "networks", "storage_bytes")


def _published(row: Row, mean: float) -> dict[str, Any]:
    """The published number of a row and its source, if the tables of the plan have one."""
    cell = row.cell
    for name, meanings in cell.plan.published.items():
        facts = {
            "method": cell.config.method,
            "data": cell.config.data,
            "ipc": cell.config.ipc,
            "network": row.table_key[2],
            **{key: cell.point.get(axis) for key, axis in meanings.items()},
        }
        for number in table(name).numbers:
            if "network" not in number.where and facts["network"] != cell.plan.networks[0]:
                continue
            if all(facts.get(key) == value for key, value in number.where.items()):
                return {
                    "published": number.mean,
                    "published_std": number.std,
                    "published_source": table(name).source(cell.config.method, cell.config.data),
                    "minus_published": 100 * mean - number.mean,
                }
    return {}


def tables(found: Sequence[Mapping[str, Any]], *, brief: bool = False) -> list[Table]:
    """The records as tables for people: one for each budget, and one of cells without result.

    Args:
        found: what :func:`records` returns.
        brief: without the columns that a terminal has no room for.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    lost = []
    for row in found:
        if row["status"] != "done":
            name = row["runs"].removeprefix("cells/")
            lost.append((name, row["status"], row["reason"] or ""))
            continue
        setting = row["protocol"] + (f", {row['labels']} labels" if row["labels"] != "hard" else "")
        budget = format.size(row["bytes_per_class"])
        title = f"{row['data']}, {row['network']}, {setting}, {budget} per class"
        groups.setdefault(title, []).append(row)
    result = []
    for title, rows in groups.items():
        columns = [
            name for name in (_BRIEF if brief else _SHOWN) if any(_SHOWN[name](row) for row in rows)
        ]
        cells = [tuple(_SHOWN[name](row) for name in columns) for row in rows]
        result.append(Table(title, tuple(columns), cells))
    if lost:
        result.append(Table("Cells without a result", ("cell", "state", "reason"), lost))
    return result


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.1f}"


def _range(row: Mapping[str, Any], middle: str, low: str, high: str, sign: str = "") -> str:
    if row[low] is None:
        return _number(row[middle], sign)
    return f"{row[middle]:{sign}.1f} ({row[low]:{sign}.1f} to {row[high]:{sign}.1f})"


_SHOWN: Mapping[str, Any] = {
    "method": lambda row: ", ".join(filter(None, (METHODS.get(row["method"]).title, row["point"]))),
    ">accuracy % (95 %)": lambda row: _range(row, "accuracy", "low", "high"),
    ">over condensations": lambda row: _number(row["over_condensations"]),
    ">over networks": lambda row: _number(row["over_networks"]),
    ">n": lambda row: f"{row['condensations']} x {row['networks']}",
    ">difference (95 %)": lambda row: _range(
        row, "difference", "difference_low", "difference_high", "+"
    ),
    "over": lambda row: row["difference_over"],
    "verdict": lambda row: row["verdict"],
    ">best epoch %, chosen on test images": lambda row: _number(row["best_epoch"]),
    ">published %": lambda row: (
        _number(row["published"])
        + (f" ± {row['published_std']:.1f}" if row["published_std"] is not None else "")
    ),
    ">minus published": lambda row: _number(row["minus_published"], "+"),
    "budget": lambda row: row["budget"],
    ">build time": lambda row: format.seconds(row["build_seconds"]),
    ">storage": lambda row: format.size(row["storage_bytes"]),
    "runs": lambda row: ", ".join(
        f"[{Path(run).name.rpartition('-')[2]}]({run})" for run in row["runs"].split()
    ),
    "source of the published number": lambda row: row["published_source"] or "",
}
"""What the tables show of a record, by column."""
_BRIEF = (
    "method", ">accuracy % (95 %)", ">n", ">difference (95 %)", "verdict", ">published %",
)  # fmt: skip


def write(
    plan: Bench, found: Sequence[Mapping[str, Any]], directory: Path, command: str
) -> list[Path]:
    """Write the records as Markdown, CSV, Parquet, LaTeX and JSON.

    Returns:
        The files.
    """
    base = directory / NAME
    write_json(
        base.with_suffix(".json"), {"plan": to_plain(plan), "command": command, "rows": list(found)}
    )
    write_text(base.with_suffix(".md"), _markdown(plan, found, command))
    write_text(base.with_suffix(".csv"), _csv(found))
    write_text(base.with_suffix(".tex"), _latex(found))
    kinds = {name: pyarrow.float64() for name in _NUMBERS}
    kinds |= {name: pyarrow.int64() for name in _COUNTS}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in _COLUMNS])
    rows = pyarrow.Table.from_pylist([dict(row) for row in found], schema)
    write_atomic(base.with_suffix(".parquet"), lambda place: parquet.write_table(rows, place))
    return [base.with_suffix(f".{kind}") for kind in ("md", "csv", "parquet", "tex", "json")]


def _markdown(plan: Bench, found: Sequence[Mapping[str, Any]], command: str) -> str:
    lines = [f"# {plan.title}", "", f"`{command}`", "", *budget_lines(plan), _NOTE]
    for each in tables(found):
        lines += each.markdown()
    for published in map(table, plan.published):
        lines += ["", f"## Published numbers: {published.cite}", "", f"{published.paper}.", ""]
        lines += [f"* Protocol: {published.protocol}", f"* Statistic: {published.statistic}"]
        lines += [f"* Known error: {error}" for error in published.errata]
    return "\n".join(lines) + "\n"


def budget_lines(plan: Bench) -> list[str]:
    """What a reader must know about the budget and about what was left out."""
    changed = [f"{name} = {value}" for name, value in flat(plan.settings).items()]
    settings = ", ".join([plan.config or "those of the papers", *changed])
    lines = [f"Settings: {settings}.", ""]
    if plan.left_out:
        lines += [f"Quick variant. Left out of the whole plan: {plan.left_out}.", ""]
    if plan.published:
        lines += [
            "Published numbers were made by other protocols and budgets unless their source says "
            "the same as the title of the table and the column budget; minus published is no test.",
            "",
        ]
    return lines


def _csv(found: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def _latex(found: Sequence[Mapping[str, Any]]) -> str:
    """A ``booktabs`` table for each group."""
    lines = ["% \\usepackage{booktabs}"]
    for each in tables(found, brief=True):
        kinds = "".join("r" if name.startswith(">") else "l" for name in each.columns)
        heads = [format.latex(name.lstrip(">").capitalize()) for name in each.columns]
        lines += [f"% {format.plain(each.title)}", f"\\begin{{tabular}}{{{kinds}}}", "\\toprule"]
        lines += [" & ".join(heads) + " \\\\", "\\midrule"]
        for row in each.rows:
            cells = [format.latex(format.plain(cell)).replace("±", "$\\pm$") for cell in row]
            lines.append(" & ".join(cells) + " \\\\")
        lines += ["\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(lines)
