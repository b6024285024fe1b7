"""Where things that can be made again are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from dance.core.errors import ArtifactError


def cache_dir() -> Path:
    """The folder for decoded images and trained experts; it need not exist yet.

    ``$DANCE_CACHE``, else ``$XDG_CACHE_HOME/dance``, else ``~/.cache/dance``. Deleting it costs
    time, nothing else.

    Raises:
        ArtifactError: there is no home directory and neither variable is set.
    """
    if own := os.environ.get("DANCE_CACHE"):
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if Path(
        shared
    ).is_absolute():  # the XDG specification says that relative paths are to be ignored
        return Path(shared) / "dance"
    try:
        return Path.home() / ".cache" / "dance"
    except RuntimeError as error:
        raise ArtifactError(
            "there is no home directory to keep a cache in; set DANCE_CACHE to a folder that can "
            "be written"
        ) from error
