"""Timing: benchmark entries take turns in one process; medians and quartiles of their times."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dance.core.device import wait

TimedEntry = Callable[[int], float]
"""Runs a benchmark entry for the round with this number, and returns the seconds that it took."""
Phase = str | Callable[[], str]
"""The name of a phase, or a function that returns it when a function of the phase is entered."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A function whose time a :class:`Stopwatch` takes.

    Attributes:
        owner: module or class of which the function is an attribute.
        name: of that attribute.
        phase: to which its time is added.
    """

    owner: object
    name: str
    phase: Phase


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; the device is idle before it and after it."""
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - started


def alternate(
    entries: Mapping[str, TimedEntry], rounds: int, max_seconds: Mapping[str, float] | None = None
) -> dict[str, list[float]]:
    """Time entries in turn, so that other work on the machine slows all of them alike.

    The order is reversed in every second round. Round 0 warms up and does not count.

    Args:
        entries: by name.
        rounds: number of rounds that count.
        max_seconds: by name; an entry that takes longer in round 0 is not run again, and that one
            sample is its result.

    Returns:
        Seconds of each entry by round.
    """
    first = {name: entry(0) for name, entry in entries.items()}
    limits = max_seconds or {}
    repeated = [name for name in entries if first[name] <= limits.get(name, math.inf)]
    samples: dict[str, list[float]] = {
        name: [] if name in repeated else [first[name]] for name in entries
    }
    for number in range(1, rounds + 1):
        for name in repeated if number % 2 else reversed(repeated):
            samples[name].append(entries[name](number))
    return samples


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """The ``samples`` with their ``median`` and their ``quartiles``.

    >>> summary([3.0, 1.0, 2.0])
    {'samples': [3.0, 1.0, 2.0], 'median': 2.0, 'quartiles': [1.5, 2.5]}
    >>> summary([4.0])["quartiles"]
    [4.0, 4.0]
    """
    both = samples if len(samples) > 1 else [*samples, *samples]
    low, middle, high = statistics.quantiles(both, n=4, method="inclusive")
    return {"samples": list(samples), "median": middle, "quartiles": [low, high]}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """The :func:`summary` of ``slow / fast``, round by round: how many times faster ``fast`` is."""
    return summary([a / b for a, b in zip(slow, fast, strict=False)])


class Stopwatch:
    """A context manager that divides the time of a step among phases.

    Inside the context, the watched functions are replaced by timed ones. The time of a watched
    function, with everything that it calls, is added to its phase; a watched function that is
    called by another one counts for the outer one. The remaining time is the phase ``rest``. On
    CUDA, each measurement waits until the device is idle.

    Args:
        watched: the functions to time.
        device: where the work runs.

    Attributes:
        seconds: by phase.
    """

    REST = "rest"

    def __init__(self, watched: Sequence[Watched], device: torch.device) -> None:
        self._watched, self._device = watched, device
        self.seconds: dict[str, float] = {}
        self._originals: list[Any] = []
        self._inside = False
        self._since = 0.0

    def __enter__(self) -> Stopwatch:
        """Replace the watched functions and start the clock."""
        for one in self._watched:
            original = vars(one.owner)[one.name]
            self._originals.append(original)
            setattr(one.owner, one.name, self._timed(original, one.phase))
        wait(self._device)
        self._since = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the clock and restore the watched functions."""
        self._record(self.REST)
        for one in self._watched:
            setattr(one.owner, one.name, self._originals.pop(0))

    def _timed(self, function: Callable[..., Any], phase: Phase) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            """Call the function and record its time."""
            if self._inside:
                return function(*arguments, **named)
            self._record(self.REST)
            self._inside = True
            name = phase if isinstance(phase, str) else phase()
            try:
                return function(*arguments, **named)
            finally:
                self._record(name)
                self._inside = False

        return call

    def _record(self, phase: str) -> None:
        """Add the time since the last record to ``phase``."""
        wait(self._device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = time.perf_counter()
