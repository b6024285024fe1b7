"""A limit on the size of files, which stands for a full disk."""

from __future__ import annotations

import resource
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def on_full_disk(size: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a process of its own, none of whose files can grow beyond ``size`` bytes.

    The limit would also hold for the file that this process may print to.

    Args:
        size: limit in bytes.
        function: of a module, so that the process finds it; an exception in it fails the test.
        arguments: of the function.
    """
    child = get_context("spawn").Process(target=_limited, args=(size, function, *arguments))
    child.start()
    child.join()
    assert child.exitcode == 0


def _limited(size: int, function: Callable[..., None], *arguments: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    function(*arguments)
