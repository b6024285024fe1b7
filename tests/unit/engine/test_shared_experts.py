"""``experts.seed``: runs of several seeds share experts, and runs without it are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dance.bench.plan import Bench
from dance.bench.product import _seconds
from dance.core.config import build
from dance.engine.config import plain_settings
from dance.engine.context import RunContext, prepare
from dance.engine.rundir import RunDirectory, identity
from dance.recipes.resolve import resolve


def context(run: int, **experts: Any) -> RunContext:
    given = {"seed": run, "network": {"width": 8}, "experts": {"count": 1, "epochs": 1, **experts}}
    return prepare(resolve("digits", "dance", 1, "quick", given))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))


def test_runs_of_other_seeds_share_experts_but_no_bank() -> None:
    first, second, own = context(0), context(1, seed=0), context(1)
    stores = [each._trained().store.directory for each in (first, second, own)]
    assert stores[0] == stores[1] != stores[2]
    banks = [each.bank(each.method).path for each in (first, second)]  # type: ignore[arg-type]
    assert banks[0] != banks[1]  # entries are drawn with the seed of the run
    (expert,) = first.pool().ensure(1)
    assert expert.trained_now and second.missing_experts() == 0 and own.missing_experts() == 1


def test_without_the_option_settings_and_identity_stay(tmp_path: Path) -> None:
    run = context(1).config
    assert "seed" not in plain_settings(run)["experts"]
    assert "seed" not in identity(run)["trajectories"]
    assert identity(context(1, seed=0).config)["experts"]["seed"] == 0
    directory = RunDirectory(tmp_path / "run")
    directory.claim(run)
    directory.claim(run)  # is the same run


def test_a_bench_counts_shared_experts_once_and_says_so() -> None:
    plain = {"data": ["digits"], "methods": ["dance"], "ipc": [1], "seeds": [0, 1]}
    phases = [{"name": "experts", "seconds": 10.0}, {"name": "condensing", "seconds": 1.0}]
    for experts, total in (({}, 22.0), ({"seed": 0}, 12.0)):
        cells = build(Bench, {**plain, "settings": {"experts": experts}}).cells()
        shared: set[str] = set()
        assert sum(_seconds(cell, phases, shared) for cell in cells) == total
        assert ("of seed 0" in cells[0].budget) == bool(experts)
