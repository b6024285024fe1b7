"""Ctrl-C waits for a moment when the state is whole."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from dance.core.interrupt import deferred_interrupt


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
