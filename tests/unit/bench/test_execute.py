"""A cell waits for another process that makes its run, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dance.bench.execute import _in_use
from dance.core.errors import ArtifactError
from dance.engine.rundir import RunDirectory


def state(run: Path) -> Any:
    return SimpleNamespace(run=run, not_before=0.0, cell=SimpleNamespace(name="cell"))


def test_a_run_that_is_made_is_in_use(tmp_path: Path) -> None:
    cell = state(tmp_path / "run")
    with RunDirectory(tmp_path / "run").exclusively():
        assert _in_use(cell) and cell.not_before > 0
    assert not _in_use(cell)


def test_a_directory_that_cannot_be_written_is_no_run_in_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(ArtifactError):
        _in_use(state(tmp_path / "file" / "run"))
