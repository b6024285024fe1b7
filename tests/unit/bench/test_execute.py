"""A cell waits for another process that makes its run, and for nothing else."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from dance.bench.board import Board
from dance.bench.execute import State, _in_use
from dance.core.errors import ArtifactError
from dance.engine.rundir import RunDirectory


def state(run: Path) -> Any:
    return SimpleNamespace(run=run, not_before=0.0, cell=SimpleNamespace(name="cell"))


def test_a_run_that_is_made_is_in_use(tmp_path: Path) -> None:
    cell = state(tmp_path / "run")
    with RunDirectory(tmp_path / "run").exclusively():
        assert _in_use(cell) and cell.not_before > 0
    assert not _in_use(cell)


def test_what_a_command_prints_is_no_markup(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("[/data/x] photos[old]/a", encoding="utf-8")
    given: Any = {"left": [], "status": "running", "started": time.monotonic()}
    cell: Any = SimpleNamespace(name="a[b]", kind=())
    running = State(cell, tmp_path, tmp_path / "log", **given)
    console = Console(file=io.StringIO(), width=120)
    console.print(Board({}, 1)._table([running]))
    assert "[/data/x] photos[old]/a" in console.file.getvalue()
    assert "a[b]" in console.file.getvalue()


def test_a_directory_that_cannot_be_written_is_no_run_in_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(ArtifactError):
        _in_use(state(tmp_path / "file" / "run"))
