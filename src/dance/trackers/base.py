"""What a tracker is: a program that shows the curves of many runs side by side.

A tracker gets what a run writes anyway, so that it can neither change a result nor lose one. One
file in this package, or in another distribution (entry-point group ``dance.trackers``), adds one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from dance.core.registry import Registry


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker sees it.

    Attributes:
        name: of its directory.
        folder: for the files of the tracker, in the directory of the run; it exists.
        settings: by dotted name; numbers, text, booleans, None, and lists of these.
        known_as: what :meth:`Tracker.start` has returned in an earlier attempt; None in the first.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    known_as: str | None


@dataclass(frozen=True)
class Results:
    """What a finished run is shown with.

    Attributes:
        numbers: scores (fractions) and costs (seconds, bytes) by name.
        picture: stored images, a row for each class.
    """

    numbers: Mapping[str, float]
    picture: Image.Image


class Tracker(ABC):
    """The three calls that an attempt at a run makes, in one process, in this order.

    Each may raise any exception: it is logged, and the run continues without the tracker. The
    library behind it is imported by :meth:`start`, not before.

    Attributes:
        package: that :meth:`start` imports. The run is refused if it is not installed.
    """

    package: ClassVar[str]

    @abstractmethod
    def start(self, run: TrackedRun) -> str:
        """Begin a run, or continue the one that is ``known_as``; returns the name of it."""

    @abstractmethod
    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Add metrics of steps, ascending, none of which was added before, and store them.

        Args:
            rows: the step, from 0, and its values by name.
        """

    @abstractmethod
    def finish(self, results: Results | None) -> None:
        """End the attempt.

        Args:
            results: of the run; None if it was interrupted or has failed.
        """


TRACKERS: Registry[type[Tracker]] = Registry("tracker", __package__)
