"""Self-contained HTML pages: no network, one script at most, light and dark."""

from __future__ import annotations

import base64
import hashlib
import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dance.core import format
from dance.core.costs import build_seconds
from dance.report.bench import Bench, content
from dance.report.charts import accuracy_chart, loss_chart
from dance.report.compare import Comparison
from dance.report.film import Shot, film
from dance.report.insight import view
from dance.report.pictures import gallery
from dance.report.record import Run
from dance.report.summary import (
    command,
    cost_facts,
    data_facts,
    environment_facts,
    experts,
    label,
    result,
    sentence,
    tiles,
    title,
)
from dance.report.tables import class_results, interval, mean_std, protocol_tables

_FOLDER = Path(__file__).parent


def render(run: Run, shots: Sequence[Shot] = ()) -> str:
    """The report of a run as HTML text; it has a script only if there are images over time."""
    found = film(run, shots)
    return _render("page.html.j2", {**_content(run), "film": found}, script=found is not None)


def render_comparison(found: Comparison) -> str:
    """A comparison of runs as HTML text."""
    return _render("compare.html.j2", {"found": found, "labels": found.labels()})


def render_bench(bench: Bench) -> str:
    """The page of a bench as HTML text."""
    return _render("bench.html.j2", content(bench), script=True)


@dataclass(frozen=True)
class Report:
    """A report in a file, which a notebook shows in a frame.

    Attributes:
        path: of the HTML page.
    """

    path: Path

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        style = "box-sizing: border-box; width: 100%; height: 42em; border: 1px solid #cccccc"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'


@dataclass(frozen=True)
class _Script:
    """The only script that a page may run: its text, and the digest by which the page allows it."""

    text: str
    digest: str


def _script() -> _Script:
    text = (_FOLDER / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _Script(text, digest)


def _render(template: str, content: Mapping[str, Any], *, script: bool = False) -> str:
    """A page from its template, with the script or without any."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,  # for all file names, since class names may be hostile
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (format.count, format.percent, format.size, format.seconds, format.plural):
        environment.filters[function.__name__] = function
    environment.filters["interval"] = interval
    environment.filters["mean_std"] = mean_std
    text = environment.get_template(template).render(
        **content, script=_script() if script else None
    )
    # A folder name that is not valid UTF-8 has lone surrogates, which cannot be encoded.
    return text.encode("utf-8", "replace").decode("utf-8")


def _content(run: Run) -> dict[str, Any]:
    tables = protocol_tables(run.scores)
    groups = [group for table in tables for group in table.groups]
    losses = [loss_chart(name, points) for name, points in run.losses.items()]
    accuracies = [
        accuracy_chart(f"{group.network}, {group.protocol}", group.rows) for group in groups
    ]
    return {
        "run": run,
        "title": title(run),
        "sentence": sentence(run),
        "result": result(run.scores),
        "tiles": tiles(run),
        "label": label(run),
        "resolution": run.condensed.resolution,
        "build_seconds": build_seconds(run.costs),
        "tables": tables,
        "gallery": gallery(run.condensed, run.initial),
        "losses": [chart for chart in losses if chart],
        "accuracies": [chart for chart in accuracies if chart],
        "classes": [
            found for group in groups if (found := class_results(run.condensed.classes, group))
        ],
        "experts": experts(run.costs),
        "view": view(run),
        "costs": cost_facts(run),
        "data": data_facts(run),
        "environment": environment_facts(run.environment),
        "command": command(run),
        "evaluate": f"dance evaluate {shlex.quote(run.place)}",
    }
