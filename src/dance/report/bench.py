"""The page of a bench: its results as tables and charts, and images of its sets."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dance.condensed import load_set
from dance.condensed.container import KIND
from dance.condensed.run_files import RunFiles, seed_name
from dance.condensed.score import SUBJECTS
from dance.core import format
from dance.core.config import flat
from dance.core.errors import ArtifactError
from dance.core.files import read_header, read_json
from dance.report.charts import (
    DotChart,
    DotRow,
    LineChart,
    Point,
    Tick,
    percent_axis,
    point_chart,
    series_look,
)
from dance.report.pictures import Sample, SideBySide, sample, side_by_side

RESULTS = "results.json"
"""The file of a bench that holds its results."""
_FILES = (
    "results.md", "results.csv", "results.parquet", "results.tex", "results.json", "figure.csv",
    "figure.parquet", "figure.svg", "figure.png",
)  # fmt: skip
_TEXTS = (
    "data", "images", "method", "point", "network", "protocol", "labels", "budget", "status",
    "interval_over", "difference_over", "verdict", "published_source", "machine", "runs", "notes",
    "reason",
)  # fmt: skip
_NUMBERS = (
    "ipc", "bytes_per_class", "accuracy", "over_condensations", "over_networks", "condensations",
    "networks", "low", "high", "best_epoch", "difference", "difference_low", "difference_high",
    "published", "published_std", "minus_published", "storage_bytes", "build_seconds",
    "score_seconds", "ratio", "bootstrap_low", "bootstrap_high", "decoded_images",
    "updates", "condense_seconds", "networks_seconds", "networks_bytes",
)  # fmt: skip
_WHOLE = "whole"
"""Stands for a method in the rows of the whole set."""
_GROUP = ("data", "images", "network", "protocol", "labels", "bytes_per_class")
"""Rows stand in one table only if these are the same."""
_MOST_CHARACTERS = 1_200_000
"""Largest size of all images of sets."""
_MOST_FIGURE = 1_500_000
"""Bytes of a figure that is shown; a larger one is only linked."""
_LEAST_SECONDS = 0.1
"""Shorter build times are drawn here, since a logarithmic axis has no zero."""


@dataclass(frozen=True)
class Result:
    """One row of the results.

    Attributes:
        row: values by column; None for those that it does not have.
        method: title of the method, and values of the axes.
        series: number of method and values, for the looks of its marks.
        links: names and addresses of its run directories, as far as they are there.
    """

    row: Mapping[str, Any]
    method: str
    series: int
    links: tuple[tuple[str, str], ...]

    @property
    def look(self) -> tuple[str, str]:
        """Classes and outline of its marks."""
        return series_look(self.series)

    @property
    def kind(self) -> str:
        """``done`` with an accuracy, ``whole``, ``lost`` without a result, or ``other``: times."""
        if self.row["method"] == _WHOLE:
            return _WHOLE
        if self.row["status"] in ("failed", "not run"):
            return "lost"
        return "other" if self.row["accuracy"] is None else "done"

    @property
    def run(self) -> str:
        """Its first run directory, below that of the bench; empty if it names none."""
        return str(self.row["runs"] or "").partition(" ")[0]

    @property
    def data(self) -> str:
        """The data set, with its test images if other rows have others."""
        data, images = self.row["data"] or "", self.row["images"]
        return f"{data} ({images})" if images else data

    @property
    def remarks(self) -> str:
        """What stands below its method: budget, and decoded images if these are more."""
        row, parts = self.row, [self.row["budget"]]
        if row["decoded_images"] and row["ipc"] and row["bytes_per_class"]:
            classes = round((row["storage_bytes"] or 0) / row["bytes_per_class"])
            if row["decoded_images"] > classes * row["ipc"]:
                parts.append(format.plural(row["decoded_images"], "decoded image"))
        return ", ".join(filter(None, parts))

    @property
    def words(self) -> str:
        """What a search finds beside the text of the row."""
        return " ".join(str(self.row[name] or "") for name in (*_GROUP[:5], "budget"))


@dataclass(frozen=True)
class Group:
    """Results that can be compared."""

    common: Mapping[str, Any]
    data: str
    budget: str
    ipc: str
    ratio: str
    rows: tuple[Result, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pictures:
    """The sets of all methods on one data set with one number of images per class."""

    data: str
    ipc: int
    names: tuple[str, ...]
    shown: SideBySide
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """What ``results.json`` holds."""

    directory: Path
    plan: Mapping[str, Any]
    command: str
    rows: tuple[Result, ...]

    def of(self, kind: str) -> list[Result]:
        """The rows of a kind."""
        return [each for each in self.rows if each.kind == kind]


def read_bench(directory: Path) -> Bench:
    """Read the results of a bench.

    Raises:
        ArtifactError: ``results.json`` is damaged.
    """
    path = directory / RESULTS
    content = read_json(path)
    parts = content if isinstance(content, dict) else {}
    plan, rows = parts.get("plan"), parts.get("rows")
    if not isinstance(plan, dict) or not isinstance(rows, list):
        raise ArtifactError(f"{path} is damaged: it must hold plan and rows; repeat dance bench")
    for row in rows:
        _check(row, path)
    plain = [dict.fromkeys((*_TEXTS, *_NUMBERS)) | row for row in rows]
    titles = _titles(plain, directory)
    names = [
        ", ".join(filter(None, (titles.get(row["method"]) or row["method"], row["point"])))
        for row in plain
    ]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return Bench(
        directory,
        plan,
        str(parts.get("command") or ""),
        tuple(
            Result(row, name, order[name], _links(row["runs"], directory))
            for row, name in zip(plain, names, strict=True)
        ),
    )


def _check(row: Any, path: Path) -> None:
    for name, value in row.items() if isinstance(row, dict) else [("a row", row)]:
        kinds: tuple[type, ...] = (int, float, str)
        kinds = kinds[:2] if name in _NUMBERS else kinds[2:] if name in _TEXTS else kinds
        if not isinstance(row, dict) or not isinstance(value, (*kinds, type(None))):
            raise ArtifactError(f"{path} is damaged: {name} must not be {value!r:.100}")


def _titles(rows: Sequence[Mapping[str, Any]], directory: Path) -> dict[str, str]:
    """Titles of the methods whose sets are there, by name."""
    found = {_WHOLE: SUBJECTS[_WHOLE]}
    for row in rows:
        path = RunFiles(directory / str(row["runs"] or "").partition(" ")[0]).condensed
        if row["method"] not in found and path.is_file():
            header = read_header(path, KIND) or {}
            label = header.get("provenance", {}).get("label")
            found |= {row["method"]: str(label)} if label else {}
    return found


def _links(runs: str | None, directory: Path) -> tuple[tuple[str, str], ...]:
    found = []
    for run in (runs or "").split():
        page = RunFiles(directory / run).report
        if page.parent.is_dir():
            address = quote(f"{run}/{page.name}" if page.exists() else f"{run}/")
            found.append((seed_name(run), address))
    return tuple(found)


def content(bench: Bench) -> dict[str, Any]:
    """What the template shows."""
    done, plan = bench.of("done"), bench.plan
    shown = {name for name in _NUMBERS for each in done if each.row[name] is not None}
    common, columns = _other_columns(bench.of("other"))
    changed = [f"{name} = {value}" for name, value in flat(plan.get("settings") or {}).items()]
    return {
        "bench": bench,
        "title": str(plan.get("title") or bench.directory.resolve().name),
        "settings": ", ".join([plan.get("config") or "those of the papers", *changed]),
        "left_out": str(plan.get("left_out") or ""),
        "tiles": _tiles(bench),
        "facets_shown": _facets([each for each in bench.rows if each.kind != _WHOLE]),
        "groups": _groups(done, bench.of(_WHOLE)),
        "shown": shown,
        "more": [name for name in _columns(done) if name not in (*_TEXTS, *_NUMBERS)],
        "legend_rows": _legend(done),
        "legend_of_lines": _legend(done, methods=bool(done and _axis(done))),
        "costs": _cost_charts(done),
        "multiples": _multiples(done),
        "dots": _dots(done),
        "sources": sorted({each.row["published_source"] or "" for each in done} - {""}),
        "pictures": _pictures(bench),
        "figure": _figure(bench.directory),
        "lost": bench.of("lost"),
        "other": bench.of("other"),
        "other_common": common,
        "other_columns": columns,
        "machines": list(
            dict.fromkeys(each.row["machine"] for each in done if each.row["machine"])
        ),
        "files": [name for name in _FILES if (bench.directory / name).is_file()],
    }


def _columns(rows: Sequence[Result]) -> list[str]:
    """Columns in which some row has a value."""
    names = dict.fromkeys(name for each in rows for name in each.row)
    return [name for name in names if any(each.row.get(name) not in (None, "") for each in rows)]


def _other_columns(rows: Sequence[Result]) -> tuple[list[tuple[str, str]], list[str]]:
    """What all measurements have in common, with its name, and the columns of the others."""
    names = [name for name in _columns(rows) if name not in ("status", "runs")]
    values = {name: {each.row.get(name) for each in rows} for name in names}
    names = [
        name
        for name in names
        if name == "method" or any(each.row.get(name) != each.row["method"] for each in rows)
    ]
    same = [name for name in names if len(values[name]) == 1 and name != "method"]
    common = [(name, str(*values[name])) for name in same]
    left = [name for name in names if name not in same]
    return common, sorted(left, key=lambda name: name != "method")


def _tiles(bench: Bench) -> list[tuple[str, str, str]]:
    """Key numbers: (what, value, remark)."""
    done, lost = bench.of("done"), bench.of("lost")
    runs = {run for each in done for run in (each.row["runs"] or "").split()}
    seconds = [each.row["build_seconds"] or 0.0 for each in done]
    found = [("Results", format.count(len(bench.rows) - len(lost)), "rows of the tables")]
    if runs:
        found.append(("Condensed sets", format.count(len(runs)), "each a run directory"))
    if any(seconds):
        found.append(("Longest build", format.seconds(max(seconds)), "all before scoring"))
    found.append(("Without a result", format.count(len(lost)), "failed, or not run"))
    return found


def _facets(rows: Sequence[Result]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Columns by which rows can be chosen, with their values and what these are called."""
    found = []
    for name in ("data", "ipc", "method", "protocol", "labels"):
        values = {each.row[name]: str(each.row[name]) for each in rows if each.row[name]}
        if name == "data":
            values = {each.data: each.data for each in rows if each.data}
        if name == "method":
            values = {each.row[name]: each.method.partition(", ")[0] for each in rows}
        if len(values) > 1:
            found.append((name, [(str(value), text) for value, text in values.items()]))
    return found


def _groups(done: Sequence[Result], whole: Sequence[Result]) -> list[Group]:
    """The tables, each with the row of its whole set at the end."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for each in done:
        groups.setdefault(tuple(each.row[name] for name in _GROUP), []).append(each)
    sizes = Counter((*key[:-1], format.size(key[-1])) for key in groups)
    found = []
    for key, rows in groups.items():
        ipc = ", ".join(dict.fromkeys(str(each.row["ipc"]) for each in rows))
        ratios = {each.row["ratio"] for each in rows} - {None}
        ratio = f"{ratios.pop():.2g}\N{NO-BREAK SPACE}%" if len(ratios) == 1 else ""
        rows += [each for each in whole if _place(each) == _place(rows[0])]
        notes = dict.fromkeys(each.row["notes"] for each in rows if each.row["notes"])
        longest = [note for note in notes if not any(note in n and n != note for n in notes)]
        common = dict(zip(_GROUP, key, strict=True))
        budget = format.size(key[-1])
        if sizes[*key[:-1], budget] > 1:
            budget = f"{key[-1]:,} bytes"
        data = rows[0].data
        found.append(Group(common, data, budget, ipc, ratio, tuple(rows), tuple(longest)))
    return found


def _place(each: Result) -> tuple[Any, ...]:
    return each.row["data"], each.row["images"], each.row["network"]


def _legend(done: Sequence[Result], *, methods: bool = False) -> list[tuple[str, str, str]]:
    """Name, classes and outline of each series, or of each method, whatever its axes."""
    found: dict[str, tuple[str, str, str]] = {}
    for each in done:
        name = each.method.partition(", ")[0] if methods else each.method
        found.setdefault(name, (name, *each.look))
    return list(found.values())


def _by_setting(done: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    """Results by data set, and by network, protocol and labels in words."""
    found: dict[tuple[str, str], list[Result]] = {}
    for each in done:
        row = each.row
        words = [row["network"], row["protocol"], f"{row['labels']} labels"]
        found.setdefault((each.data, ", ".join(filter(None, words))), []).append(each)
    return found


def _cost_charts(done: Sequence[Result]) -> list[tuple[str, LineChart]]:
    """Accuracy against storage and against build time; with the data set of each chart."""
    charts = []
    for (data, setting), rows in _by_setting(done).items():
        for column, label, text, least in (
            ("storage_bytes", "stored bytes", lambda x: format.size(round(x)), 1.0),
            ("build_seconds", "build time", format.seconds, _LEAST_SECONDS),
        ):
            points = [
                Point(
                    each.series,
                    f"{each.method} (ipc {each.row['ipc']})",
                    max(least, each.row[column]),
                    each.row["accuracy"],
                )
                for each in rows
                if each.row[column] is not None
            ]
            if len({point.x for point in points}) > 1:
                title = f"{data}: {label}"
                charts.append(
                    (data, point_chart(title, setting, points, label, text, joined=False))
                )
    return charts


def _multiples(done: Sequence[Result]) -> list[tuple[str, LineChart]]:
    """Accuracy over images per class, or over the values of an axis of numbers at a single ipc.

    Returns:
        The charts with their data sets; none where there is a single value.
    """
    charts = []
    for (data, setting), rows in _by_setting(done).items():
        axis = _axis(rows)
        first: dict[str, int] = {}
        points = []
        for each in rows:
            row, number, name = each.row, each.series, each.method
            if axis:  # one series for each method, whatever its value of the axis
                number, name = first.setdefault(row["method"], each.series), name.partition(", ")[0]
            x = float(row["point"].partition(" = ")[2]) if axis else row["ipc"]
            interval = None if row["low"] is None else (row["low"], row["high"])
            points.append(Point(number, name, x, row["accuracy"], interval))
            if row["published"] is not None:
                name = f"{name}, published"
                points.append(Point(number, name, x, row["published"], hollow=True))
        if len({point.x for point in points}) > 1:
            label = axis or "images per class"
            chart = point_chart(data, setting, points, label, lambda x: f"{x:g}", joined=True)
            charts.append((data, chart))
    return charts


def _axis(rows: Sequence[Result]) -> str:
    """The name of the only axis, if its values are numbers and there is one ipc; else empty."""
    parts = [(each.row["point"] or "").partition(" = ") for each in rows]
    names = {name for name, _, _ in parts}
    numbers = all(value.replace(".", "", 1).replace("e-", "").isdigit() for _, _, value in parts)
    return names.pop() if numbers and len(names) == len({r.row["ipc"] for r in rows}) == 1 else ""


def _dots(done: Sequence[Result]) -> list[tuple[str, str, DotChart]]:
    """Accuracies with their intervals, and published ones: data set, setting and chart.

    Where a chart of :func:`_multiples` has the others, only results with a published number.
    """
    charts = []
    for (data, setting), rows in _by_setting(done).items():
        several = len({each.row["ipc"] for each in rows}) > 1
        single = not several and not _axis(rows)
        shown = [each for each in rows if single or each.row["published"] is not None]
        if len(shown) < (2 if single else 1):
            continue
        values = [each.row[name] for each in shown for name in ("accuracy", "published")]
        marks, low, high = percent_axis([value for value in values if value is not None])

        def place(value: float, low: float = low, high: float = high) -> float:
            return round(100 * (min(max(value, low), high) - low) / (high - low), 3)

        drawn = []
        for each in shown:
            row, gap = each.row, each.row["minus_published"]
            name = f"{each.method}, ipc {row['ipc']}" if several else each.method
            text = f"{row['accuracy']:.1f}" + ("" if gap is None else f" ({gap:+.1f})")
            drawn.append(
                DotRow(
                    name=name,
                    subject=each.look[0],
                    network="",
                    dots=(),
                    mean=place(row["accuracy"]),
                    interval=None
                    if row["low"] is None
                    else (place(row["low"]), place(row["high"])),
                    text=text.replace("-", "\N{MINUS SIGN}"),
                    published=None if row["published"] is None else place(row["published"]),
                )
            )
        axis = tuple(Tick(place(mark), f"{mark:g} %") for mark in marks)
        charts.append((data, setting, DotChart(axis, tuple(drawn))))
    return charts


def _pictures(bench: Bench) -> list[Pictures]:
    """The sets of each data set and number of images per class, of one seed, side by side."""
    groups: dict[tuple[str, int], dict[str, Result]] = {}
    for each in bench.of("done"):
        groups.setdefault((each.data, each.row["ipc"]), {}).setdefault(each.run, each)
    found = []
    for (data, ipc), members in groups.items():
        samples: list[Sample] = []
        names, missing = [], []
        for run, each in members.items():
            path = RunFiles(bench.directory / run).condensed
            made = sample(load_set(path), 4) if run and path.is_file() else None
            if made is None or (samples and made.classes != samples[0].classes):
                missing.append(each.method)
            else:
                samples.append(made)
                names.append(each.method)
        if samples:
            shown = side_by_side(samples, _MOST_CHARACTERS // len(groups))
            found.append(Pictures(data, ipc, tuple(names), shown, tuple(missing)))
    return found


def _figure(directory: Path) -> str:
    """The figure of the bench as a data URI; empty if there is none, or it is too large."""
    for name, kind in (("figure.svg", "svg+xml"), ("figure.png", "png")):
        path = directory / name
        if path.is_file() and path.stat().st_size <= _MOST_FIGURE:
            return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return ""
