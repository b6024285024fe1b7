"""Reports of run directories, as HTML pages, images and tables; they train nothing."""

from __future__ import annotations

from pathlib import Path

from dance.core.files import write_atomic, write_text
from dance.report.compare import Comparison, as_csv, as_latex
from dance.report.page import render, render_comparison
from dance.report.preview import draw
from dance.report.record import read_run

__all__ = ["build", "write_comparison"]


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


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write ``compare.html``, ``compare.csv`` and ``compare.tex`` into a folder, each atomically.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    texts = {"html": render_comparison(found), "csv": as_csv(found), "tex": as_latex(found)}
    for suffix, text in texts.items():
        write_text(folder / f"compare.{suffix}", text)
    return [folder / f"compare.{suffix}" for suffix in texts]
