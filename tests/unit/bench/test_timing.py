"""Timing: the order of the entries, the statistics, and that watched functions are restored."""

from __future__ import annotations

import time

import pytest
import torch

from dance.bench.entries import Engine, Phases
from dance.bench.timing import Stopwatch, Watched, alternate, ratio, summary
from dance.methods.dance import DANCE, DANCEConfig
from unit.methods.tasks import task

CPU = torch.device("cpu")


def test_entries_take_turns_in_both_orders_after_warming_up() -> None:
    calls: list[tuple[str, int]] = []

    def entry(name: str) -> object:
        return lambda number: calls.append((name, number)) or float(number)  # type: ignore[func-returns-value]

    samples = alternate({name: entry(name) for name in "ab"}, 2)  # type: ignore[misc]
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    assert samples == {"a": [1.0, 2.0], "b": [1.0, 2.0]}


def test_an_entry_that_is_too_slow_runs_once() -> None:
    samples = alternate({"slow": lambda _: 9.0, "fast": lambda _: 1.0}, 3, {"slow": 5.0})
    assert samples == {"slow": [9.0], "fast": [1.0, 1.0, 1.0]}


def test_median_and_quartiles() -> None:
    assert summary([5.0, 1.0, 3.0, 2.0, 4.0])["quartiles"] == [2.0, 4.0]
    assert summary([5.0, 1.0, 3.0, 2.0, 4.0])["median"] == 3.0


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that is slow in one round slows both."""
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])["quartiles"] == [2.0, 2.0]


class Work:
    """Functions to watch."""

    def inner(self) -> None:
        time.sleep(0.02)

    def outer(self) -> None:
        time.sleep(0.01)
        self.inner()

    def fails(self) -> None:
        raise ValueError("on purpose")


def test_the_stopwatch_puts_nested_time_down_to_the_outer_function() -> None:
    work, before = Work(), dict(vars(Work))
    names = iter(["first", "second"])
    watched = [Watched(Work, "inner", "inner"), Watched(Work, "outer", lambda: next(names))]
    with Stopwatch(watched, CPU) as watch:
        work.outer()
        work.inner()
        work.outer()
        time.sleep(0.005)
    assert set(watch.seconds) == {"rest", "inner", "first", "second"}
    assert watch.seconds["inner"] >= 0.02
    assert min(watch.seconds["first"], watch.seconds["second"]) >= 0.03  # with inner's 0.02
    assert watch.seconds["rest"] >= 0.005
    assert dict(vars(Work)) == before


def test_the_stopwatch_puts_the_functions_back_after_an_error() -> None:
    before = Work.fails
    watched = [Watched(Work, "fails", "x")]
    with pytest.raises(ValueError, match="on purpose"), Stopwatch(watched, CPU) as watch:
        Work().fails()
    assert Work.fails is before
    assert "x" in watch.seconds


def test_every_phase_of_a_step_of_dance_is_seen() -> None:
    """The functions that are watched are those that a step calls."""
    given = task(2, 2, dtype=torch.float32)
    engine = Engine(DANCE(DANCEConfig(real_batch=5)), given, 3)
    by_phase, plain = engine.phase_seconds(2)
    views = ("matching", "calibration")
    passes = {f"{view}: {way}" for view in views for way in ("forward", "backward")}
    own = {Phases.DRAWS, Phases.WEIGHTS, Phases.REAL, Phases.IMAGES, Phases.OPTIMISER}
    for split in by_phase:
        assert set(split) == passes | own | {Stopwatch.REST}
        assert all(seconds > 0 for seconds in split.values())
    assert len(by_phase) == len(plain) == 2


def test_watching_does_not_change_a_step() -> None:
    given = task(2, 2)
    method = DANCE(DANCEConfig(real_batch=5))
    states = []
    for watched in ([], Phases().watched()):
        made = method.start(given)
        with Stopwatch(watched, CPU):
            made.step(0)
        states.append(made.state.pixels)
    assert torch.equal(*states)
