"""Messages while waiting go to stderr, as plain lines if there is no terminal."""

from __future__ import annotations

import re
import sys
import time

import pytest

from dance.core import progress
from dance.core.progress import log, track


def test_log_is_a_line_on_stderr(capsys) -> None:
    log("said")
    assert capsys.readouterr() == ("", "said\n")


def test_short_work_says_nothing(capsys) -> None:
    with track("work", 3, "steps") as bar:
        for _ in range(3):
            bar.advance()
    assert bar.done == 3
    assert capsys.readouterr() == ("", "")


def test_long_work_tells_how_far_and_how_long(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with track("work", 100, "steps", start=20) as bar:
        bar.note = "accuracy 71.3 %"
        for _ in range(40):
            now[0] += 1
            bar.advance()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 3 <= len(lines) <= 4, "one about every ten seconds"
    done, left = re.fullmatch(
        r"work: (\d+)/100 steps, 1 min (\d+) s left; accuracy 71.3 %", lines[0]
    ).groups()
    assert int(done) in (30, 31) and 60 + int(left) == pytest.approx(100 - int(done), abs=1.5)


def test_a_terminal_gets_a_bar(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_QUIET_SECONDS", -1.0)
    with track("work", 3, "steps") as bar:
        bar.note = "halfway"
        bar.advance(2)
        assert bar._bar is not None
        assert bar._bar.tasks[0].completed == 2
        assert bar._bar.tasks[0].visible
    assert capsys.readouterr().out == ""
