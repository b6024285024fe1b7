"""Shows the cells of a bench while they run: a live table on a terminal, else a line for each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dance.bench.execute import State, seconds_left
from dance.core.format import plain, seconds
from dance.core.progress import log

_TAIL = 2000
"""Bytes of a log of which the last line is shown."""
_OTHERS = 8
"""Number of finished cells that the table shows."""


class Board:
    """What to show.

    Args:
        known: seconds of a cell by its kind, from earlier runs.
        slots: number of cells at once.
    """

    def __init__(self, known: Mapping[tuple[Any, ...], float], slots: int) -> None:
        self._known, self._slots = known, slots
        self._seen: set[str] = set()
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table during the block, if stderr is a terminal."""
        if sys.stderr is None or not sys.stderr.isatty():
            yield
            return
        with Live(console=Console(stderr=True), refresh_per_second=4) as self._live:
            yield
        self._live = None

    def update(self, states: Sequence[State]) -> None:
        """Show the states of all cells."""
        for state in states:
            if state.status in ("done", "failed") and state.cell.name not in self._seen:
                self._seen.add(state.cell.name)
                if self._live is None and (state.seconds or state.reason):
                    log(f"{state.cell.name}: {_note(state)}; {self._ahead(states)}")
        if self._live is not None:
            self._live.update(self._table(states))

    def _ahead(self, states: Sequence[State]) -> str:
        done = sum(state.status in ("done", "failed") for state in states)
        left = seconds_left(states, self._known, self._slots)
        ahead = "time left not known yet"
        if left is not None:
            ahead = f"about {plain(seconds(max(left, 1.0)))} left"
        return f"{done} of {len(states)} cells, {ahead if done < len(states) else 'finished'}"

    def _table(self, states: Sequence[State]) -> Table:
        table = Table(title=self._ahead(states), title_justify="left", box=None, pad_edge=False)
        table.add_column("cell", no_wrap=True)
        table.add_column("state")
        shown = [s for s in states if s.status in ("done", "failed")][-_OTHERS:]
        for state in [*shown, *(s for s in states if s.status == "running")]:
            table.add_row(Text(state.cell.name), Text(_note(state)))
        return table


def _note(state: State) -> str:
    if state.status == "failed":
        return f"failed: {state.reason}"
    if state.status == "done":
        return f"done in {plain(seconds(state.seconds))}" if state.seconds else "done before"
    passed = state.seconds + time.monotonic() - state.started
    return f"{plain(seconds(passed))}; {_last_line(state.log)}"


def _last_line(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    return lines[-1] if lines else ""
