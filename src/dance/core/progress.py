"""Progress and log lines on stderr: a bar with ETA on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from dance.core.streams import write_line

_QUIET_SECONDS = 2.0
"""Work that ends sooner than this shows nothing."""
_LINE_SECONDS = 10.0
"""Seconds between two plain log lines."""

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
    _started: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)
    _first: int = 0

    def advance(self, count: int = 1) -> None:
        """Add ``count`` units of finished work."""
        self.done += count
        now = time.monotonic()
        if self._bar is not None:
            if now - self._started > _QUIET_SECONDS:
                self._bar.update(
                    self._bar.task_ids[0], completed=self.done, note=self.note, visible=True
                )
        elif now - self._shown > _LINE_SECONDS:
            self._shown = now
            rate = (self.done - self._first) / (now - self._started)
            left = duration((self.total - self.done) / rate) if rate > 0 else "?"
            place = f"{self.done}/{self.total} {self.unit}"
            log(f"{self.description}: {place}, {left} left; {self.note}".rstrip())


@contextmanager
def track(description: str, total: int, unit: str, start: int = 0) -> Iterator[Task]:
    """Show the progress of the block.

    Args:
        description: what is done.
        total: units in all.
        unit: their name in the plural.
        start: units that an interrupted run has finished.
    """
    if _muted or sys.stderr is None or not sys.stderr.isatty():
        yield Task(description, total, unit, done=start, _first=start)
        return
    # On a narrow terminal the note is truncated, not the bar.
    note_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn(),
        TextColumn(unit), TextColumn("eta"), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", table_column=note_column),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        bar.add_task(description, total=total, completed=start, note="", visible=False)
        yield Task(description, total, unit, done=start, _bar=bar)
