"""The standard streams of a process, any of which may be closed, or read by nobody any more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def prepare_streams() -> None:
    """Make the standard streams of this process usable; call before anything is opened.

    * A closed one becomes the null device. Otherwise the next file to be opened would get its
      number, and what a library writes to stderr would go into that file.
    * Characters that the encoding of a stream does not have are written as escapes.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:  # closed; those with lower numbers are open, so this gets its number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if mode == "w" and hasattr(stream, "reconfigure"):
            with suppress(OSError):  # the file below it was exchanged for a pipe
                stream.reconfigure(errors="backslashreplace")


def write_line(message: str) -> None:
    """Write a line to stderr; where nobody can read it any more, work continues without it."""
    if sys.stderr is None:  # closed, in a program that uses the library
        return
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send to the null device what a stream still has to write, and all that follows."""
    with suppress(OSError, ValueError):  # it is no file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
