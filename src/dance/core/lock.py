"""One process at a time: a lock that the system frees when the process that holds it is killed."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dance.core.errors import ArtifactError
from dance.core.progress import log

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, doing: str) -> Iterator[bool]:
    """Hold the lock of a file or folder; a process that holds it is waited for.

    Args:
        path: what is locked. The lock is a file beside it that stays.
        doing: what a process that holds it is at, to say why this one waits.

    Yields:
        False where the file system has no locks, as some of clusters.

    Raises:
        ArtifactError: the lock's file cannot be written.
    """
    with _opened(path.with_suffix(".lock")) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"another process is {doing}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            yield False
            return
        yield True


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror}; free some space, choose another place with "
            "--output, or set DANCE_CACHE for what runs share"
        ) from error
