"""One registry type for all that is added by adding a file: methods, networks, protocols."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from dance.core.errors import ConfigError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to members of one kind, filled by importing every module of a package on first use.

    Other distributions add members through the entry-point group that is called like the package.

    Args:
        kind: the word used in messages, such as ``"method"``.
        package: the package whose modules register members when they are imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._members: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a member under ``name``; a name can be taken once."""

        def file(member: T) -> T:
            held = self._members.setdefault(name, member)
            if held is not member:
                raise ConfigError(f"{self.kind} {name!r} is registered twice: {held} and {member}")
            return member

        return file

    def get(self, name: str) -> T:
        """The member called ``name``.

        Raises:
            ConfigError: no such member; the message names the nearest ones.
        """
        self._discover()
        if name not in self._members:
            raise ConfigError(f"unknown {self.kind} {name!r}{nearest(name, self._members)}")
        return self._members[name]

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
