"""Figure 3c of the DANCE paper: the accuracy of experts on condensed images along condensation.

Experts are networks trained on the real training images, those that DANCE uses with the settings
and the seed of the cell. Each classifies the decoded images of a condensed set, without
augmentation, after some steps of its condensation (the ``snapshots`` of the plan, the initial and
the final set), and the real test images. DANCE lowers the loss of these same experts on its images;
DM never sees them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dance.bench.figures import FIGURES, Figure, Finished, Row, trained
from dance.bench.figures.chart import lines
from dance.bench.figures.judge import Judge
from dance.bench.plan import Cell
from dance.condensed import CondensedSet, load_set
from dance.condensed.statistics import summary
from dance.engine.rundir import RunDirectory
from dance.methods import Condenser

_REAL = "real test images"


def measure(bench: Finished) -> list[Row]:
    """A row for each cell and snapshot: mean and deviation over experts, in percent.

    The accuracy on real test images has a row at each end of the axis.
    """
    rows: list[Row] = []
    for cell in bench.cells:
        config = cell.config
        judge = Judge(bench, bench.plan.reference(config.data, config.ipc, config.seed))
        key = {"figure": "fig3c", "experts": trained(judge.config)}
        for step, path in _sets(cell, bench.directory):
            content = load_set(path)
            found = bench.remembered(
                key | {"set": content.digest()}, partial(_accuracies, judge, content)
            )
            facts = {"method": config.method, "series": cell.label, "budget": cell.budget}
            rows.append(_row(cell, step, found) | facts)
        found = bench.remembered(key | {"set": _REAL}, partial(_accuracies, judge, None))
        rows += [_row(cell, end, found) for end in (0, rows[-1]["x"])]
    return sorted(rows, key=lambda row: row["series"] == _REAL)


def _row(cell: Cell, step: float, found: list[float]) -> Row:
    """A row of the accuracies on real test images."""
    mean = summary(found)
    experts: dict[str, Any] = {"spread_over": "experts", "n": len(found)}
    experts["spread"] = 100 * mean.std if len(found) > 1 else None
    return {
        "data": cell.config.data, "ipc": cell.config.ipc, "method": None,
        "seed": cell.config.seed, "series": _REAL, "quantity": "accuracy of experts",
        "x": float(step), "x_name": "step of the condensation", "x_unit": "steps",
        "y": 100 * mean.mean, "y_unit": "%", **experts, "budget": None,
        "run": f"cells/{cell.name}",
    }  # fmt: skip


def _sets(cell: Cell, directory: Path) -> Iterator[tuple[int, Path]]:
    """The stored sets of a run by number of steps: initial, snapshots, final."""
    run, method = RunDirectory(cell.place(directory)), cell.config.make_method()
    found = {int(path.stem): path for path in run.snapshots.glob("*.safetensors")}
    if isinstance(method, Condenser):
        found[0] = run.initial
    found[method.iterations if isinstance(method, Condenser) else 0] = run.condensed
    return iter(sorted(found.items()))


def _accuracies(judge: Judge, content: CondensedSet | None) -> list[float]:
    """Accuracy of each expert on a set, or on the real test images, as fractions."""
    images = judge.real if content is None else judge.condensed(content)
    return [judge.accuracy(expert.final, images) for expert in judge.experts]


FIGURES.register("fig3c")(
    Figure(
        measure=measure,
        draw=lines,
        definition="Accuracy of networks trained on the real training images (the experts of DANCE)"
        " on real test images and on the decoded condensed images after some steps. DANCE lowers "
        "the loss of these experts on its images; the other methods do not see them.",
    )
)
