"""Ctrl-C waits for a moment when the state is whole; what was stopped is resumed there."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from dance.core.checkpoints import Checkpoints
from dance.core.work import deferred_interrupt, resumable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_only_noted(number) -> None:
    before = signal.getsignal(number)
    reached = False
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        reached = True
    assert reached, "the block was not let end"
    assert signal.getsignal(number) is before


def test_the_second_stops_at_once_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one did not stop the block")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), deferred_interrupt():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_ignored_stays_ignored(number) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with deferred_interrupt() as interrupt:
            os.kill(os.getpid(), number)
            assert not interrupt.requested
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_another_thread_changes_nothing() -> None:
    found: list[object] = []

    def work() -> None:
        with deferred_interrupt() as interrupt:
            found.extend([signal.getsignal(signal.SIGINT), interrupt.requested])

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before, False]


def counted(directory: Path, total: int, *, stop_at: int | None = None, seconds: float = 0) -> int:
    """Work that adds up 1 to ``total``, resumed where its last checkpoint was."""
    checkpoints = Checkpoints(directory, "sum", {}, seconds)
    found = checkpoints.latest()
    start = int(found[0]["done"]) if found else 0
    value = [int(found[0]["value"]) if found else 0]
    spent = float(found[1]) if found else 0.0

    def save(held: Checkpoints) -> None:
        state = {"done": torch.tensor(number), "value": torch.tensor(value[0])}
        held.save(number, state, work.seconds())

    with resumable("adding", total, "numbers", checkpoints, start=start, spent=spent) as work:
        for number in range(start + 1, total + 1):
            value[0] += number
            if number == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            work.end_step(save)
        assert work.bar.done == total
    return value[0]


@pytest.mark.parametrize("seconds", [0, 1000])
@pytest.mark.parametrize("stop_at", [1, 4, 9])
def test_work_that_was_stopped_is_resumed(tmp_path: Path, stop_at: int, seconds: float) -> None:
    """The step during which Ctrl-C came is finished and saved, whether a save was due or not."""
    with pytest.raises(KeyboardInterrupt):
        counted(tmp_path, 10, stop_at=stop_at, seconds=seconds)
    checkpoints = Checkpoints(tmp_path, "sum", {}, seconds)
    assert checkpoints.numbers()[-1] == stop_at
    assert counted(tmp_path, 10, seconds=seconds) == 55


def test_saves_are_made_when_they_are_due_or_asked_for(tmp_path: Path) -> None:
    saved: list[int] = []
    for seconds, always, expected in ((0, [], [1, 2, 3]), (1000, [], []), (1000, [2], [2])):
        saved.clear()
        checkpoints = Checkpoints(tmp_path, "work", {}, seconds)
        with resumable("working", 3, "steps", checkpoints) as work:
            for step in (1, 2, 3):
                work.end_step(lambda _, step=step: saved.append(step), always_save=step in always)
        assert saved == expected


def test_work_without_checkpoints_is_never_saved() -> None:
    with pytest.raises(KeyboardInterrupt), resumable("working", 3, "steps", None) as work:
        work.end_step(lambda _: pytest.fail("saved"), always_save=True)
        os.kill(os.getpid(), signal.SIGTERM)
        work.end_step(lambda _: pytest.fail("saved"))
        pytest.fail("was not stopped")


def test_seconds_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("dance.core.work.time.monotonic", lambda: now[0])
    with resumable("working", 3, "steps", None, spent=5.0) as work:
        now[0] += 1000
        assert work.seconds() == pytest.approx(1005, abs=5)
