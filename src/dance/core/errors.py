"""Errors that a user can cause: the command line prints one message and exits with code 2.

One that another process of the run has caused ends with code 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMES = 24
"""Names that a message lists."""


class DanceError(Exception):
    """Base of every error that says what must hold, what was received and what to do next."""

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in place of a traceback: the message tells all."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(DanceError):
    """A configuration, option, name or recipe is not what it must be."""


class DataError(DanceError):
    """An image set cannot be found, read or used."""


class ArtifactError(DanceError):
    """A file or directory of dance is missing, damaged, of another run, or cannot be written."""


class LockedError(ArtifactError):
    """Another process uses a file or directory."""


class ForeignFileError(ArtifactError):
    """A file is sound, but of another kind or of another program."""


class MissingExpertsError(DanceError):
    """A method needs expert networks that are not there and may not be trained here."""


class PeerError(DanceError):
    """Another process of a distributed run ended early."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: which names are known, or similar.

    Args:
        name: what was received.
        known: what would have been accepted.

    Returns:
        ``"; did you mean 'a' or 'b'?"`` when something is close, else ``"; known: a, b, c"``, of
        many names the first ones.

    >>> nearest("cifar1", ["cifar10", "mnist"])
    "; did you mean 'cifar10'?"
    >>> nearest("x", [str(number) for number in range(100)])[-20:]
    ', 29, 3, and 76 more'
    """
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(repr(option) for option in close) + "?"
    more = len(options) - _MOST_NAMES
    shown = options if more <= 0 else [*options[:_MOST_NAMES], f"and {more} more"]
    return "; known: " + ", ".join(shown)
