"""Progress and log lines on stderr: a bar with ETA on a terminal, else plain lines.

In a notebook, progress is a bar below the cell.
"""

from __future__ import annotations

import html
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from dance.core.streams import write_line

_QUIET_SECONDS = 2.0
"""Work that ends sooner than this shows nothing."""
_LINE_SECONDS = 10.0
"""Seconds between two plain log lines."""
_NOTEBOOK_SECONDS = 0.5
"""Seconds between two updates of a bar in a notebook."""

_muted = False


def mute() -> None:
    """Show and log nothing in this process from now on: rank 0 reports for all."""
    global _muted
    _muted = True


def log(message: str) -> None:
    """Write one plain line to stderr."""
    if not _muted:
        write_line(message)


def duration(seconds: float) -> str:
    """Seconds as text with units.

    >>> duration(5.25), duration(75), duration(7300)
    ('5.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


@dataclass(frozen=True)
class Expected:
    """What a phase will take.

    Attributes:
        seconds: estimated.
        units: that its pieces of work have in all, from which its speed is found while it runs; 0
            if they are not known.
    """

    seconds: float
    units: int = 0


Estimate = Callable[[Sequence[str]], Mapping[str, Expected]]
"""What the phases of these names will take; it leaves out those that it does not know."""


@dataclass
class _Plan:
    """The phases of a run, of which one is in progress.

    Attributes:
        names: of the phases, in order.
        estimate: as for :func:`planned`.
        place: of the phase in progress, from 0; -1 before the first.
        began: when it began.
        done: its units so far.
        skipped: its units that earlier attempts have finished.
        expected: by name; None before it is needed.
    """

    names: Sequence[str]
    estimate: Estimate
    place: int = -1
    began: float = 0.0
    done: int = 0
    skipped: int = 0
    expected: Mapping[str, Expected] | None = None

    def left(self, here: float) -> tuple[float, bool]:
        """Seconds to the end of the run, and whether all later phases are known.

        Args:
            here: seconds to the end of the work that is shown, which may be a part of a phase.
        """
        if self.expected is None:
            self.expected = {}  # an estimate must not ask for another one
            self.expected = self.estimate(self.names[self.place :])
        gone = time.monotonic() - self.began
        phase = self.expected.get(self.names[self.place], Expected(0.0))
        if phase.units and self.done:
            here = max(here, gone * (phase.units - self.skipped - self.done) / self.done)
        else:
            here = max(here, phase.seconds - gone)
        later = self.names[self.place + 1 :]
        known = [self.expected[name].seconds for name in later if name in self.expected]
        return here + sum(known), len(known) == len(later)


_plan: _Plan | None = None


@contextmanager
def planned(names: Sequence[str], estimate: Estimate) -> Iterator[None]:
    """Show all progress of the block as that of a run of several phases.

    Args:
        names: of the phases, in order; :func:`begin` tells which one begins.
        estimate: of the phases that it is given, of which the first is in progress. It is called
            once, when work that is not short is first shown.
    """
    global _plan
    _plan = _Plan(names, estimate)
    try:
        yield
    finally:
        _plan = None


def begin(name: str) -> None:
    """Tell that a phase begins; one that is not planned, or over, is passed over."""
    if _plan is not None and name in _plan.names[_plan.place + 1 :]:
        _plan.place, _plan.began = _plan.names.index(name), time.monotonic()
        _plan.done = _plan.skipped = 0


class _NotebookBar:
    """A bar below the cell of a notebook that runs, which changes in place.

    Args:
        display: the function of IPython that shows an object.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None

    def show(self, done: int, total: int, line: str) -> None:
        """Show how much is done, and a line of text beside it."""
        bar = f'<progress value="{done}" max="{total}"></progress> {html.escape(line)}'
        content = {"text/plain": line, "text/html": bar}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def clear(self) -> None:
        """Remove what is shown."""
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)


def _notebook_bar() -> _NotebookBar | None:
    """A bar, if this process is the kernel of a notebook, which has imported IPython."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):  # no IPython, or that of a terminal
        return None
    return _NotebookBar(importlib.import_module("IPython.display").display)


@dataclass
class Task:
    """Progress of one piece of work; call :meth:`advance` after each part.

    Attributes:
        note: text beside the bar, shown by the next advance, such as ``"accuracy 71.3 %"``.
    """

    description: str
    total: int
    unit: str
    note: str = ""
    done: int = 0
    _bar: Progress | None = None
    _notebook: _NotebookBar | None = None
    _started: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)
    _first: int = 0

    def advance(self, count: int = 1) -> None:
        """Add ``count`` units of finished work."""
        self.done += count
        if _plan is not None:
            _plan.done += count
        now = time.monotonic()
        if self._bar is not None:
            if now - self._started > _QUIET_SECONDS:
                phase, left = self._place(now)
                self._bar.update(
                    self._bar.task_ids[0], description=f"{phase}{self.description}",
                    completed=self.done, left=left, note=self.note, visible=True,
                )  # fmt: skip
        elif self._notebook is not None:
            if now - self._started > _QUIET_SECONDS and now - self._shown > _NOTEBOOK_SECONDS:
                self._shown = now
                self._notebook.show(self.done, self.total, self._line(now))
        elif now - self._shown > _LINE_SECONDS and not _muted:
            self._shown = now
            log(self._line(now))

    def _line(self, now: float) -> str:
        phase, left = self._place(now)
        place = f"{self.done}/{self.total} {self.unit}"
        note = f"; {self.note}" if self.note else ""
        return f"{phase}{self.description}: {place}, {left}{note}"

    def _place(self, now: float) -> tuple[str, str]:
        """The phase of the run, if it has several, and the time that is left."""
        rate = (self.done - self._first) / (now - self._started)
        here = (self.total - self.done) / rate if rate > 0 else None
        if _plan is None or _plan.place < 0:
            return "", f"{'?' if here is None else duration(here)} left"
        phase = f"phase {_plan.place + 1} of {len(_plan.names)}, "
        if here is None:
            return phase, "? left"
        left, known = _plan.left(here)
        if known:
            return phase, f"{duration(left)} left in all"
        return phase, f"{duration(here)} left in this phase, later ones unknown"


@contextmanager
def track(description: str, total: int, unit: str, start: int = 0) -> Iterator[Task]:
    """Show the progress of the block.

    Args:
        description: what is done.
        total: units in all.
        unit: their name in the plural.
        start: units that an interrupted run has finished.
    """
    if _plan is not None:
        _plan.skipped += start
    if _muted or sys.stderr is None or not sys.stderr.isatty():
        notebook = None if _muted else _notebook_bar()
        try:
            yield Task(description, total, unit, done=start, _notebook=notebook, _first=start)
        finally:
            if notebook is not None:
                notebook.clear()
        return
    # On a narrow terminal the note is truncated, not the bar.
    note_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn(),
        TextColumn(unit), TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[note]}", table_column=note_column),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        bar.add_task(description, total=total, completed=start, left="", note="", visible=False)
        yield Task(description, total, unit, done=start, _bar=bar, _first=start)
