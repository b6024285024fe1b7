"""Fair clocks: contestants take turns in one process; medians and quartiles of what they took."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dance.bench.machine import wait

Contestant = Callable[[int], float]
"""Does its work for the round with this number and says how many seconds it took."""
Phase = str | Callable[[], str]
"""The name of a phase, or what says it when a function of it is entered."""


@dataclass(frozen=True, eq=False)
class Watched:
    """A function whose time is taken.

    Attributes:
        owner: module or class that it is called from.
        name: under which it is found there.
        phase: that its time is put down to.
    """

    owner: object
    name: str
    phase: Phase


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, from an idle device to an idle device."""
    wait(device)
    started = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - started


def alternate(
    contestants: Mapping[str, Contestant], rounds: int, longest: Mapping[str, float] | None = None
) -> dict[str, list[float]]:
    """Let contestants take turns, so that whatever else the machine does meets all of them.

    Every second round goes backwards. Round 0 warms up and does not count.

    Args:
        contestants: by name.
        rounds: that count.
        longest: seconds by name; a contestant that takes longer in round 0 is not asked again, and
            that one sample counts.

    Returns:
        Seconds of each contestant by round.
    """
    first = {name: contestant(0) for name, contestant in contestants.items()}
    limits = longest or {}
    again = [name for name in contestants if first[name] <= limits.get(name, math.inf)]
    found: dict[str, list[float]] = {
        name: [] if name in again else [first[name]] for name in contestants
    }
    for number in range(1, rounds + 1):
        for name in again if number % 2 else reversed(again):
            found[name].append(contestants[name](number))
    return found


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """The ``samples`` with their ``median`` and ``quartiles``.

    >>> summary([3.0, 1.0, 2.0])
    {'samples': [3.0, 1.0, 2.0], 'median': 2.0, 'quartiles': [1.5, 2.5]}
    >>> summary([4.0])["quartiles"]
    [4.0, 4.0]
    """
    both = samples if len(samples) > 1 else [*samples, *samples]
    low, middle, high = statistics.quantiles(both, n=4, method="inclusive")
    return {"samples": list(samples), "median": middle, "quartiles": [low, high]}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """How many times faster, round by round: summary of ``slow / fast``."""
    return summary([a / b for a, b in zip(slow, fast, strict=False)])


class Stopwatch:
    """Splits the time of a step among functions of the library.

    While it is entered, the watched functions stand behind a clock: the time in one of them, with
    everything that it calls, is put down to its phase; a watched function inside another counts for
    the outer one. What is left is ``rest``. On CUDA the device is waited for at each border.

    Args:
        watched: places of the functions.
        device: where the work runs.
    """

    REST = "rest"

    def __init__(self, watched: Sequence[Watched], device: torch.device) -> None:
        self._watched, self._device = watched, device
        self.seconds: dict[str, float] = {}
        self._held: list[Any] = []
        self._busy = False
        self._since = 0.0

    def __enter__(self) -> Stopwatch:
        """Start."""
        for one in self._watched:
            held = vars(one.owner)[one.name]
            self._held.append(held)
            setattr(one.owner, one.name, self._clocked(held, one.phase))
        wait(self._device)
        self._since = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, put down what is left, and put the functions back."""
        self._put_down(self.REST)
        for one in self._watched:
            setattr(one.owner, one.name, self._held.pop(0))

    def _clocked(self, function: Callable[..., Any], phase: Phase) -> Callable[..., Any]:
        @functools.wraps(function)
        def clocked(*arguments: Any, **named: Any) -> Any:
            """The function, with its time put down."""
            if self._busy:
                return function(*arguments, **named)
            self._put_down(self.REST)
            self._busy = True
            entered = phase if isinstance(phase, str) else phase()
            try:
                return function(*arguments, **named)
            finally:
                self._put_down(entered)
                self._busy = False

        return clocked

    def _put_down(self, phase: str) -> None:
        """The time since the last border belongs to ``phase``."""
        wait(self._device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = time.perf_counter()
