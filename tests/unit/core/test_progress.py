"""Messages while waiting go to stderr, as plain lines if there is no terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest

from dance.core import progress
from dance.core.progress import Expected, begin, log, planned, track


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
    with track("work", 10**6, "steps", start=10**6 - 10) as bar:
        bar._started -= 100
        bar.advance()
        assert bar._bar.tasks[0].fields["left"] == "15 min 0 s left", "at the rate of this attempt"
    assert capsys.readouterr().out == ""


def test_a_notebook_gets_a_bar_that_changes_in_place(capsys, monkeypatch) -> None:
    now, shown = [time.monotonic()], []
    handle = SimpleNamespace(update=lambda content, raw: shown.append(content))

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> SimpleNamespace:
        assert raw and display_id and not shown, "one bar"
        shown.append(content)
        return handle

    shell = SimpleNamespace(kernel="of a notebook")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with track("a < b", 100, "steps") as bar:
        bar.note = "loss 1"
        for _ in range(40):
            now[0] += 0.1
            bar.advance()
    *bars, last = shown
    assert 2 <= len(bars) <= 5, "nothing for two seconds, then about twice a second"
    assert re.fullmatch(r"a < b: \d+/100 steps, \d[.]\d s left; loss 1", bars[0]["text/plain"])
    done = re.match(r'<progress value="(\d+)" max="100"></progress> a &lt; b', bars[0]["text/html"])
    assert 20 <= int(done[1]) <= 30
    assert not any(last.values()), "nothing is left of it"
    log("said")
    assert capsys.readouterr() == ("", "said\n")


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert progress._notebook_bar() is None


def lines_of(
    capsys, monkeypatch: pytest.MonkeyPatch, known: dict[str, Expected], start: int = 0
) -> list[str]:
    """What 100 seconds of the second of three phases say, whose times are known or not."""
    now, asked = [time.monotonic()], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def estimate(names: Sequence[str]) -> Mapping[str, Expected]:
        asked.append(list(names))
        return known

    with planned(["first", "second", "third"], estimate):
        begin("first")
        begin("second")
        begin("first")  # it is over
        with track("work", start + 100, "steps", start) as bar:
            for _ in range(100):
                now[0] += 1
                bar.advance()
    assert asked == [["second", "third"]], "once, and of the phases that are left"
    return capsys.readouterr().err.splitlines()


def test_one_time_is_left_for_all_phases(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(capsys, monkeypatch, {"third": Expected(600.0)})
    for line in lines:
        done, minutes, seconds = map(
            int,
            re.fullmatch(
                r"phase 2 of 3, work: (\d+)/100 steps, (\d+) min (\d+) s left in all", line
            ).groups(),
        )
        assert 60 * minutes + seconds == pytest.approx(600 + 100 - done, abs=1.5)


def test_a_phase_of_several_pieces_is_as_long_as_estimated(capsys, monkeypatch) -> None:
    lines = lines_of(capsys, monkeypatch, {"second": Expected(300.0), "third": Expected(600.0)})
    assert ", 14 min 49 s left in all" in lines[0] or ", 14 min 48 s left in all" in lines[0]


def test_the_speed_of_a_phase_is_found_while_it_runs(capsys, monkeypatch) -> None:
    """Its 400 units take one second each, whatever was estimated."""
    lines = lines_of(capsys, monkeypatch, {"second": Expected(9000.0, 400), "third": Expected(0.0)})
    done, minutes, seconds = map(
        int, re.search(r"(\d+)/100 steps, (\d+) min (\d+) s left in all", lines[0]).groups()
    )
    assert 60 * minutes + seconds == pytest.approx(400 - done, abs=1.5)


def test_what_earlier_attempts_did_is_not_left_to_do(capsys, monkeypatch) -> None:
    known = {"second": Expected(9000.0, 400), "third": Expected(0.0)}
    lines = lines_of(capsys, monkeypatch, known, start=50)
    done, minutes, seconds = map(
        int, re.search(r"(\d+)/150 steps, (\d+) min (\d+) s left in all", lines[0]).groups()
    )
    assert 60 * minutes + seconds == pytest.approx(400 - done, abs=1.5)


def test_what_is_not_known_is_said(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(capsys, monkeypatch, {})
    assert re.fullmatch(
        r"phase 2 of 3, work: \d+/100 steps, 1 min \d+ s left in this phase, later ones unknown",
        lines[0],
    )
