"""One run as one self-contained HTML page: no script, no network, light and dark."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dance.core import format
from dance.core.costs import build_seconds
from dance.report.charts import accuracy_chart, loss_chart
from dance.report.compare import Comparison
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


def render(run: Run) -> str:
    """The report of a run as HTML text."""
    return _render("page.html.j2", _content(run))


def render_comparison(found: Comparison) -> str:
    """A comparison of runs as HTML text."""
    return _render("compare.html.j2", {"found": found, "labels": found.labels()})


def _render(template: str, content: dict[str, Any]) -> str:
    """A page from its template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # for all file names, since class names may be hostile
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (format.count, format.percent, format.size, format.seconds, format.plural):
        environment.filters[function.__name__] = function
    environment.filters["interval"] = interval
    environment.filters["mean_std"] = mean_std
    text = environment.get_template(template).render(**content)
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
        "costs": cost_facts(run),
        "data": data_facts(run),
        "environment": environment_facts(run.environment),
        "command": command(run),
        "evaluate": f"dance evaluate {shlex.quote(str(run.directory))}",
    }
