"""The report of a run directory, as one HTML page and one image; it trains nothing."""

from __future__ import annotations

from pathlib import Path

from dance.core.files import write_atomic, write_text
from dance.report.page import render
from dance.report.preview import draw
from dance.report.record import read_run

__all__ = ["build"]


def build(run_dir: Path) -> Path:
    """Write ``report.html`` and ``preview.png`` into a run directory, each atomically.

    Args:
        run_dir: a run's directory with at least ``condensed.safetensors``; scores, losses, costs,
            configuration and environment are shown if they exist.

    Returns:
        The path of ``report.html``.

    Raises:
        ArtifactError: a part is damaged, the condensed set is missing, or the directory cannot be
            written.
    """
    run = read_run(run_dir)
    picture = draw(run)
    page = run_dir / "report.html"
    write_text(page, render(run))
    write_atomic(run_dir / "preview.png", lambda place: picture.save(place, format="PNG"))
    return page
