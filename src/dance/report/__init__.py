"""Reports of runs and benches, as HTML pages, images and tables; they train nothing."""

from __future__ import annotations

from pathlib import Path

from dance.condensed import Location
from dance.condensed.run_files import RunFiles
from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import write_atomic, write_text
from dance.report.bench import RESULTS, read_bench
from dance.report.compare import Comparison, as_csv, as_latex
from dance.report.film import GIF, shoot, write_gif
from dance.report.page import render, render_bench, render_comparison
from dance.report.preview import draw
from dance.report.record import read_run

__all__ = ["build", "write_comparison"]


def build(location: Location, output: Path | None = None) -> Path:
    """Write ``report.html`` of a run, of a bench or of a single set, atomically.

    A run or set also gets ``preview.png``, and ``snapshots.gif`` if it has snapshots.

    Args:
        location: directory of a run, with at least ``condensed.safetensors``; scores, losses,
            costs, configuration and environment are shown if they exist. Or of a bench, with at
            least ``results.json``. Or location of a set.
        output: folder to write, for a run or set (None: the directory of the run or bench).

    Returns:
        The path of ``report.html``.

    Raises:
        ConfigError: a single set is given without ``output``, or a bench with it, or ``output`` is
            the directory of another run or of a bench.
        ArtifactError: a part is damaged or missing, or the folder cannot be written.
    """
    directory = Path(location)
    if (directory / RESULTS).exists():
        if output is not None:
            raise ConfigError(
                f"the page of a bench is written beside its files, in {directory}: leave --output "
                "out"
            )
        page = RunFiles(directory).report
        write_text(page, render_bench(read_bench(directory)))
        return page
    if (directory / "bench.yaml").exists():
        raise ArtifactError(
            f"{directory} must hold {RESULTS}, which dance bench writes at its end: there is none "
            "yet; repeat its command"
        )
    run = read_run(location)
    folder = output or run.directory
    if folder is None:
        raise ConfigError(
            f"the page of a single set must have a folder: got {run.file} alone; add --output DIR"
        )
    if output is not None:
        _check_free(output, run.directory)
    picture, shots = draw(run), shoot(run)
    page = RunFiles(folder).report
    write_text(page, render(run, shots))
    if shots:
        write_gif(shots, folder / GIF)
    write_atomic(RunFiles(folder).preview, lambda place: picture.save(place, format="PNG"))
    return page


def _check_free(output: Path, directory: Path | None) -> None:
    """Refuse a folder whose page is that of something else.

    Args:
        output: folder that was asked for.
        directory: of the run that is shown; None for a single set.

    Raises:
        ConfigError: it is the directory of another run or of a bench.
    """
    own = directory is not None and output.resolve() == directory.resolve()
    taken = RunFiles(output).config.exists() or (output / "bench.yaml").exists()
    if taken and not own:
        raise ConfigError(
            "--output must be no directory of another run or of a bench, whose page would be "
            f"replaced: got {output}; name another folder"
        )


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write ``compare.html``, ``compare.csv`` and ``compare.tex`` into a folder, each atomically.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    texts = {"html": render_comparison(found), "csv": as_csv(found), "tex": as_latex(found)}
    for suffix, text in texts.items():
        write_text(folder / f"compare.{suffix}", text)
    return [folder / f"compare.{suffix}" for suffix in texts]
