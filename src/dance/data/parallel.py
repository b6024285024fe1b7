"""A function over many items in threads: in order, with few in flight, however many there are."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32
"""Items a thread takes at a time, so that handing over costs little beside decoding."""
_MOST_THREADS = 16


def threads() -> int:
    """Threads worth starting: the cores that this process may use, 16 at most."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, _MOST_THREADS)


def ordered(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
    """``map(function, items)`` in threads; Pillow and hashlib let others run while they work.

    Items are taken from the iterable as results are consumed. The first exception is raised in
    place of its result, and what was not begun is dropped.
    """

    def work(chunk: tuple[Item, ...]) -> list[Result]:
        return [function(item) for item in chunk]

    pool = ThreadPoolExecutor(threads())
    try:
        waiting: deque[Future[list[Result]]] = deque()
        remaining = iter(items)
        while chunk := tuple(islice(remaining, _CHUNK)):
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2 * threads():
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
