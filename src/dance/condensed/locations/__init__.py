"""Where condensed sets lie: a path, or a scheme such as ``zoo:NAME``; a file adds a scheme.

A module registers a :class:`Scheme` under the word before the colon. All functions and commands
that take the file of a set take such a location, since all of them find the file by :func:`locate`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from dance.core.errors import ConfigError, nearest
from dance.core.files import cache_dir, check_path
from dance.core.registry import Registry

RUN_FILE = "condensed.safetensors"
"""Name of the set's file in a run directory, and in a repository of the hub."""
_WITH_SCHEME = re.compile(r"([A-Za-z][\w+-]*):(.*)", re.DOTALL)


@dataclass(frozen=True)
class SetFile(PathLike[str]):
    """The file of a condensed set.

    Attributes:
        path: of the file.
        origin: location of a set that belongs to others and is never changed, exact enough to find
            the same bytes again, such as ``hf:owner/name@<commit>``; None for a file of the user.
    """

    path: Path
    origin: str | None = None

    def __fspath__(self) -> str:
        """The path of the file."""
        return os.fspath(self.path)

    def __str__(self) -> str:
        """What names the set in messages and tables."""
        return self.origin or str(self.path)

    def beside(self, suffix: str, digest: str) -> Path:
        """A folder for unfinished work on the set: beside the file, or in the cache.

        Args:
            suffix: what the folder holds.
            digest: of the set, which names the folder in the cache.
        """
        if self.origin is None:
            return self.path.with_name(f"{self.path.name}.{suffix}")
        return cache_dir() / suffix / digest[:32]


Location = str | PathLike[str]
"""A path, text with a scheme, or a :class:`SetFile`."""


@dataclass(frozen=True)
class Scheme:
    """One way to name a set that is not a file of the user.

    Attributes:
        form: how it is written, for help and messages, such as ``"zoo:NAME"``.
        find: from what follows the colon to the file; raises a
            :class:`~dance.core.errors.DanceError` if there is none.
    """

    form: str
    find: Callable[[str], SetFile]


SCHEMES: Registry[Scheme] = Registry("scheme of a location", __name__)


def forms() -> str:
    """How all schemes are written: ``"hf:owner/name[@revision] or zoo:NAME"``."""
    return " or ".join(SCHEMES.get(name).form for name in SCHEMES.names())


def locate(location: Location) -> SetFile:
    """The file of a set; of a run, for a run directory. It need not exist if a path is given.

    Args:
        location: a path, or text with a scheme. A path object never has one, so that ``./zoo:x``
            and ``Path("zoo:x")`` name a file.

    Raises:
        ConfigError: no file can have this path, or the scheme or the name is unknown.
        DanceError: the set cannot be fetched.
    """
    if isinstance(location, SetFile):
        return location
    check_path(location)
    path = Path(location)
    if isinstance(location, str) and (match := _WITH_SCHEME.fullmatch(location)):
        scheme, rest = match.groups()
        if scheme in SCHEMES:
            return SCHEMES.get(scheme).find(rest)
        if not path.exists():
            raise ConfigError(
                f"a condensed set must be a path, {forms()}: got {location!r}, and there is no "
                f"such file{nearest(f'{scheme}:', [f'{name}:' for name in SCHEMES.names()])}"
            )
    return SetFile(path / RUN_FILE if path.is_dir() else path)
