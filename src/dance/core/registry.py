"""The registry of methods, networks, protocols and others, each added as one file."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from dance.core.errors import ConfigError, nearest

T = TypeVar("T")


def is_interactive(member: object) -> bool:
    """Whether a class or function was defined in a notebook, or at a prompt."""
    own = getattr(member, "__module__", None) == "__main__"
    return own and not hasattr(sys.modules["__main__"], "__file__")  # no file is the main program


class Registry(Generic[T]):
    """Members of one kind by name; every module of a package is imported on first use.

    Other distributions add members through the entry-point group with the name of the package.

    Args:
        kind: name of the kind in messages, such as ``"method"``.
        package: the package whose modules register members when they are imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._members: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a member under ``name``, which must be unique.

        In a notebook, a cell that is run again replaces the member that it registered before.
        """

        def add(member: T) -> T:
            existing = self._members.setdefault(name, member)
            if existing is not member and is_interactive(existing) and is_interactive(member):
                self._members[name] = member
            elif existing is not member:
                raise ConfigError(
                    f"{self.kind} {name!r} is registered twice: {existing} and {member}"
                )
            return member

        return add

    def get(self, name: str) -> T:
        """The member called ``name``.

        Raises:
            ConfigError: no such member; the message names the nearest ones.
        """
        self._discover()
        if not isinstance(name, str):
            raise ConfigError(f"{self.kind} must be a name: got {name!r}; see `dance list`")
        if name not in self._members:
            raise ConfigError(f"unknown {self.kind} {name!r}{nearest(name, self._members)}")
        return self._members[name]

    def find(self, name: str) -> T | None:
        """The member called ``name``; None if there is none."""
        self._discover()
        return self._members.get(name)

    def __contains__(self, name: str) -> bool:
        """Whether there is a member called ``name``."""
        self._discover()
        return name in self._members

    def names(self) -> list[str]:
        """All names, sorted."""
        self._discover()
        return sorted(self._members)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        for entry in entry_points(group=self._package):
            entry.load()
