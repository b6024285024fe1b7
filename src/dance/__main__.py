"""The command ``dance``, and ``python -m dance``.

While NumPy and PyTorch are imported, an interrupt may be lost in them, or show a traceback.
Therefore, before a command begins its work and after it has ended, an interrupt ends the process at
once: there is nothing to finish then.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:  # these modules take longer to import than the rest of the start
    from collections.abc import Callable
    from types import FrameType


def main() -> int:
    """Run the command line, and return its exit code."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may ignore it

    def on_interrupt(handler: Callable[[int, FrameType | None], object]) -> None:
        if ours:
            signal.signal(signal.SIGINT, handler)

    on_interrupt(_end)
    try:
        from dance.cli.main import main as run

        return run(begin=partial(on_interrupt, signal.default_int_handler))
    except KeyboardInterrupt:  # a second one, while the message about the first is written
        return 130
    finally:
        on_interrupt(_end)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process with the exit code of an interrupted command."""
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
