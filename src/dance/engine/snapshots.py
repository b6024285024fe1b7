"""Snapshots: the condensed set after chosen steps of a run, each stored as a set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dance.core.config import format_value
from dance.core.errors import ConfigError

_EVERY = re.compile(r"every:(\d+)")


def snapshot_steps(requested: str | Sequence[int | str], iterations: int) -> frozenset[int]:
    """The steps after which a snapshot is stored.

    Args:
        requested: numbers of steps, and ``every:N`` for each multiple of N; empty for no snapshot.
        iterations: steps of the run. The snapshot of the last step is the finished set.

    Raises:
        ConfigError: one of them is not a step of the run, or they are no list.
    """
    if not isinstance(requested, Iterable):
        raise ConfigError(
            "snapshots must be a list of steps, such as [100, 500], or every:N as text: got "
            f"{format_value(requested)}; leave --snapshots out to store none"
        )
    steps: set[int] = set()
    for item in [requested] if isinstance(requested, str) else requested:
        text = str(item).strip()
        interval = _EVERY.fullmatch(text)
        digits = interval[1] if interval else text
        number = int(digits) if digits.isdecimal() and len(digits) < 19 else 0
        if not 1 <= number <= iterations:
            raise ConfigError(
                "snapshots must be numbers of steps, such as 100, or every:N, each from 1 to the "
                f"number of iterations, {iterations}: got {text!r}; change it, or raise the "
                "number of iterations"
            )
        steps.update(range(number, iterations + 1, number) if interval else (number,))
    return frozenset(steps)
