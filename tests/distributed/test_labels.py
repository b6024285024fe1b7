"""Soft labels that several processes make, share and learn: those of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dance.condensed import load_set
from dance.core.files import read_json
from distributed.processes import finish, start
from e2e.command import done

WORDS = (
    "condense", "digits", "--config=quick", "--ipc=1", "--network.width=8", "--experts.count=1",
    "--experts.epochs=2", "--options.iterations=2", "--repeats=3", "--epochs=2", "--labels=soft",
    "--teacher.count=2", "--teacher.lengths=0.5,1", "--teacher.temperatures=1,4",
    "--teacher.epochs=2", "--evaluation.baselines=random",
)  # fmt: skip


@pytest.mark.slow
def test_several_processes_make_the_labels_of_one(tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    done(*WORDS, "--output", one)
    cache = str(tmp_path / "cache")
    ended = finish(start(2, "-m", "dance", *WORDS, "--output", many, DANCE_CACHE=cache))
    assert all(code == 0 for code, _, _ in ended), ended
    sets = [load_set(place / "condensed.safetensors") for place in (one, many)]
    soft = [found.soft_labels for found in sets]
    assert soft[0] is not None and torch.equal(soft[0], soft[1])
    origins = [found.provenance["soft_labels"] for found in sets]
    assert origins[0] == origins[1]
    rows = [read_json(place / "scores.json") for place in (one, many)]
    assert [row["curve"] for row in rows[0]] == [row["curve"] for row in rows[1]]
    assert [row["labels"] for row in rows[1]] == ["soft", "soft"]
