"""Long work in steps: progress is shown, checkpoints are saved, Ctrl-C stops it between steps.

Training, scoring, condensing and the bank all work in the same way: they restore a checkpoint if
there is one, and then end each step with :meth:`Work.end_step`, which shows the progress, saves
when it is time, and stops where the user asked for it and the state is whole.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from dance.core.checkpoints import Checkpoints
from dance.core.progress import Task, track


@dataclass
class Interrupt:
    """Whether the user has asked to stop."""

    requested: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Let the block finish its step: Ctrl-C or SIGTERM only sets ``requested``.

    A second one raises KeyboardInterrupt at once. Outside the main thread nothing is changed.

    Raises:
        KeyboardInterrupt: at the end of a block that did not heed the request itself.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if interrupt.requested:
        raise KeyboardInterrupt


@dataclass
class Work:
    """Work in progress, as :func:`resumable` gives it.

    Attributes:
        bar: what the user sees of it; set its ``note``.
        interrupt: whether the user has asked to stop.
        checkpoints: that say when a save is due (none: nothing is saved).
        spent: seconds that earlier attempts took, up to what they saved.
    """

    bar: Task
    interrupt: Interrupt
    checkpoints: Checkpoints | None
    spent: float
    _started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds spent on the work, those of earlier attempts included."""
        return self.spent + time.monotonic() - self._started

    def save_due(self) -> bool:
        """Whether the state should be saved now: it is time, or the user wants to stop."""
        return self.checkpoints is not None and (self.interrupt.requested or self.checkpoints.due())

    def end_step(
        self, save: Callable[[Checkpoints], object], count: int = 1, *, always_save: bool = False
    ) -> None:
        """End a step: show it, save if a save is due, stop if the user asked for it.

        Args:
            save: stores the state, which is whole now, in the checkpoints that it is given.
            count: units of progress that the step made.
            always_save: save whether it is time or not.

        Raises:
            KeyboardInterrupt: the user asked to stop; the state is saved.
        """
        self.bar.advance(count)
        if self.checkpoints is not None and (always_save or self.save_due()):
            save(self.checkpoints)
        if self.interrupt.requested:
            raise KeyboardInterrupt


@contextmanager
def resumable(
    description: str,
    total: int,
    unit: str,
    checkpoints: Checkpoints | None,
    *,
    start: int = 0,
    spent: float = 0.0,
) -> Iterator[Work]:
    """Show the work of the block and let Ctrl-C and SIGTERM stop it after a step only.

    Args:
        description: what is done.
        total: units of progress in all.
        unit: their name in the plural.
        checkpoints: that say when a save is due (none: nothing is saved).
        start: units done by earlier attempts.
        spent: seconds that these took.

    Raises:
        KeyboardInterrupt: the user asked to stop.
    """
    with deferred_interrupt() as interrupt, track(description, total, unit, start) as bar:
        yield Work(bar, interrupt, checkpoints, spent)
