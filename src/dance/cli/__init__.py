"""The command line, one module per command: parse, resolve the configuration, call, print."""

from __future__ import annotations

import importlib
import keyword
from types import ModuleType


def module_of(verb: str) -> ModuleType:
    """The module of a command; the name of one that Python reserves ends with an underscore."""
    return importlib.import_module(f"dance.cli.{verb}{'_' * keyword.iskeyword(verb)}")
