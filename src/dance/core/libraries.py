"""Libraries that only some functions need, and that an extra of this package installs."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from dance.core.errors import ConfigError, DanceError


def check_library(name: str, extra: str, what: str, error: type[DanceError] = ConfigError) -> None:
    """Refuse what needs a library that is not installed; it is not imported.

    Args:
        name: of the module.
        extra: that installs it, such as ``hf``.
        what: that needs it, for the message.
        error: class of the error.

    Raises:
        DanceError: it is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise error(
            f"{what} needs the package {name.replace('_', '-')}, which is not installed: "
            f"pip install -c constraints.txt -e '.[{extra}]' in the clone of this library"
        )


def need_library(name: str, extra: str, what: str) -> Any:
    """Import a library; arguments and errors as of :func:`check_library`."""
    check_library(name, extra, what)
    return importlib.import_module(name)
