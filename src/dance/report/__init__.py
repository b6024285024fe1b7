"""Reports of runs and benches, as HTML pages, images and tables; they train nothing."""

from __future__ import annotations

from pathlib import Path

from dance.core.errors import ArtifactError
from dance.core.files import write_atomic, write_text
from dance.report.bench import RESULTS, read_bench
from dance.report.compare import Comparison, as_csv, as_latex
from dance.report.film import GIF, shoot, write_gif
from dance.report.page import render, render_bench, render_comparison
from dance.report.preview import draw
from dance.report.record import read_run

__all__ = ["build", "write_comparison"]


def build(directory: Path) -> Path:
    """Write ``report.html`` into the directory of a run or of a bench, atomically.

    A run also gets ``preview.png``, and ``snapshots.gif`` if it has snapshots.

    Args:
        directory: of a run, with at least ``condensed.safetensors``; scores, losses, costs,
            configuration and environment are shown if they exist. Or of a bench, with at least
            ``results.json``.

    Returns:
        The path of ``report.html``.

    Raises:
        ArtifactError: a part is damaged or missing, or the directory cannot be written.
    """
    page = directory / "report.html"
    if (directory / RESULTS).exists():
        write_text(page, render_bench(read_bench(directory)))
        return page
    if (directory / "bench.yaml").exists():
        raise ArtifactError(
            f"{directory} must hold {RESULTS}, which dance bench writes at its end: there is none "
            "yet; repeat its command"
        )
    run = read_run(directory)
    picture, shots = draw(run), shoot(run)
    write_text(page, render(run, shots))
    if shots:
        write_gif(shots, directory / GIF)
    write_atomic(directory / "preview.png", lambda place: picture.save(place, format="PNG"))
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
