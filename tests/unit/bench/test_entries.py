"""Who takes part, on how much of the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dance.bench.entries import Engine, LiteralLoop, prepare_task, with_targets
from dance.bench.plan import read_plan
from dance.engine import RunConfig
from dance.engine.context import RunContext, prepare
from dance.engine.cost import untrained_task
from dance.recipes.resolve import resolve

SMALL = {"network": {"width": 8}, "experts": {"count": 2}, "options": {"real_batch": 8}}


@pytest.fixture(scope="module")
def run() -> RunConfig:
    return resolve(data="digits", ipc=2, overrides=SMALL)


@pytest.fixture(scope="module")
def context(run: RunConfig) -> RunContext:
    return prepare(run)


def test_untrained_experts_stand_in_for_all(context: RunContext) -> None:
    task = untrained_task(context, context.initial())
    assert len(task.experts) == 2
    (first, last), (other, _) = task.experts
    assert set(first) == set(last)
    for name in ("blocks.0.0.weight", "classifier.bias"):
        assert not torch.equal(first[name], last[name])
        assert not torch.equal(first[name], other[name])


def test_a_bank_stands_in_where_one_is_asked_for(run: RunConfig) -> None:
    banked, exact = with_targets(run, "bank"), with_targets(run, "exact")
    assert banked is not None
    assert exact is not None
    assert prepare_task(exact)[1].bank is None
    bank = prepare_task(banked)[1].bank
    assert bank is not None
    assert bank.shape == (banked.options.bank_draws, 10, 8 * 4 * 4)


def test_a_method_without_a_bank_has_none() -> None:
    assert with_targets(RunConfig(data="x", method="random"), "bank") is None


def test_an_engine_on_some_classes_steps_on_those(run: RunConfig) -> None:
    banked = with_targets(run, "bank")
    assert banked is not None
    part = prepare(banked)
    engine = Engine.of(part, untrained_task(part, part.initial()), 3)
    assert engine.classes == 10
    assert engine.task.classes == range(3)
    assert engine.task.bank is not None
    assert engine.task.bank.shape[1] == 3
    assert len(engine.task.initial) == 6
    assert engine.timed_entry()(0) > 0


def test_a_slow_reference_loops_over_the_classes_it_has_time_for(context: RunContext) -> None:
    task = untrained_task(context, context.initial())
    slow, quick = (LiteralLoop(context, task, longest) for longest in (0.0, 1000.0))
    assert (slow.classes, quick.classes) == (1, 10)
    # A tenth of the work, scaled up: not the time of one class alone. The fastest of a few tries,
    # since other work on the machine only ever adds.
    whole = min(quick.timed_entry()(number) for number in range(7))
    scaled = min(slow.timed_entry()(number) for number in range(7))
    assert whole / 5 < scaled < whole * 5


def test_known_sets_that_are_not_here_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DANCE_DATA_ROOT", str(tmp_path))
    assert read_plan("speed", {}).data == ("digits",)
    assert "no copy of cifar10 was found, so it is left out" in capsys.readouterr().err
    assert read_plan("speed", {"data": ["cifar10"]}).data == ("cifar10",)
    assert capsys.readouterr().err == ""
