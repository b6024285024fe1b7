"""Checkpoints of unfinished work, saved at an interval of time.

A checkpoint contains a *stamp*: everything that must be equal for resumed work to give the result
of uninterrupted work. The package's version and code are part of every stamp.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from dance import __version__
from dance.core.code import code_digest, package_sources
from dance.core.config import differences
from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import read_tensors, remove_leftovers, write_tensors
from dance.core.progress import log

Tensors = dict[str, torch.Tensor]

SAVE_SECONDS = "DANCE_SAVE_SECONDS"
"""Environment variable: seconds between two checkpoints."""
_SECONDS = 30.0
"""Seconds between two checkpoints if that variable is not set."""
_KIND = "checkpoint"
_NUMBER_KEPT = 2
_WORK_PER_SAVE = 20
"""A save that took t seconds is followed by at least this many times t of work."""


def save_seconds() -> float:
    """Seconds between two checkpoints: ``$DANCE_SAVE_SECONDS``, else 30; 0 saves at every step.

    Raises:
        ConfigError: the variable is not such a number.
    """
    text = os.environ.get(SAVE_SECONDS, "")
    try:
        seconds = float(text) if text else _SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{SAVE_SECONDS} must be a number of seconds from 0: got {text!r}")
    return seconds


class Checkpoints:
    """The checkpoints of one piece of work: ``<name>-<number>.safetensors``, the last two kept.

    Two are kept, so that only the work of one interval is lost if the newest one is damaged.

    Args:
        directory: where they are stored; made by the first save.
        name: of the work, unique in the directory.
        stamp: what must agree to resume the work, as plain data; version and code are added.
        seconds: least time between two saves (none: :func:`save_seconds`).
        instead: what else a user can do if a checkpoint is refused, for the message.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        stamp: Mapping[str, Any],
        seconds: float | None = None,
        *,
        instead: str = "",
    ) -> None:
        self.directory, self.name = directory, name
        self._named = dict(stamp)
        package_sources()
        self._seconds = save_seconds() if seconds is None else seconds
        self._wait = self._seconds
        self._instead = instead
        self._saved = time.monotonic()
        self._failing = False
        self._damaged: set[int] = set()

    @cached_property
    def _stamp(self) -> dict[str, Any]:
        return {**self._named, "version": __version__, "code": code_digest()}

    def numbers(self) -> list[int]:
        """Numbers of the checkpoints on disk, ascending."""
        pattern = re.compile(re.escape(self.name) + r"-(\d+)\.safetensors")
        with suppress(FileNotFoundError, NotADirectoryError):
            found = [pattern.fullmatch(entry.name) for entry in self.directory.iterdir()]
            return sorted(int(match[1]) for match in found if match)
        return []

    def path(self, number: int) -> Path:
        """File of the checkpoint with this number."""
        return self.directory / f"{self.name}-{number}.safetensors"

    def read(self, number: int) -> tuple[Tensors, dict[str, Any]] | None:
        """Read one checkpoint; None if it is damaged, which is logged.

        Returns:
            Its tensors, on the CPU, and the header that was saved with them.

        Raises:
            ArtifactError: the stamp differs; every difference is named.
        """
        path = self.path(number)
        try:
            tensors, content = read_tensors(path, _KIND)
            stamp, header = content["stamp"], content["header"]
        except (ArtifactError, KeyError, TypeError) as error:
            log(f"{error}; going back to what was saved before it")
            self._damaged.add(number)
            return None
        if differing := differences(stamp, self._stamp):
            raise ArtifactError(
                f"{path} must be of this version of dance and of these settings to be resumed: "
                f"{'; '.join(differing)}. To start again, delete {self.directory}/{self.name}-*"
                + (f" or {self._instead}" if self._instead else "")
            )
        return tensors, header

    def latest(self) -> tuple[Tensors, dict[str, Any]] | None:
        """The newest intact checkpoint, as :meth:`read` returns it; None if there is none.

        Raises:
            ArtifactError: the stamp differs; every difference is named.
        """
        for number in reversed(self.numbers()):
            if (found := self.read(number)) is not None:
                return found
        return None

    def due(self) -> bool:
        """Whether it is time for the next save."""
        return time.monotonic() - self._saved >= self._wait

    def save(self, number: int, tensors: Mapping[str, torch.Tensor], header: Any = None) -> bool:
        """Store a checkpoint and remove all but the last two.

        If the disk is full or gone, that is logged and the work continues; earlier checkpoints are
        kept.

        Args:
            number: progress of the work, larger at each save.
            tensors: all that is needed to resume; moved to the CPU.
            header: anything JSON can hold, to be given back with them.

        Returns:
            Whether it was stored.
        """
        started = time.monotonic()
        try:
            remove_leftovers(self.directory, f"{self.name}-")
            content = {"stamp": self._stamp, "header": header}
            write_tensors(self.path(number), tensors, content, _KIND)
            self._damaged.discard(number)
            intact = [n for n in self.numbers() if n not in self._damaged]
            for old in (*self._damaged, *intact[:-_NUMBER_KEPT]):
                self.path(old).unlink(missing_ok=True)
        except (ArtifactError, OSError) as error:
            if not self._failing:
                log(f"{error}; continuing without this checkpoint")
            self._failing = True
        else:
            self._failing = False
        self._saved = time.monotonic()
        if self._seconds > 0:
            self._wait = max(self._seconds, _WORK_PER_SAVE * (self._saved - started))
        return not self._failing

    def clear(self) -> None:
        """Remove all checkpoints: the work is finished, and its result stored."""
        for number in self.numbers():
            self.path(number).unlink(missing_ok=True)
        remove_leftovers(self.directory, f"{self.name}-")
        with suppress(OSError):  # there may be checkpoints of other work
            self.directory.rmdir()
