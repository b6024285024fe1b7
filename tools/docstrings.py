"""Links and examples in docstrings, for the reference of the library: an extension of Griffe.

Docstrings name symbols as :func:`symbol` and show examples as doctests; Markdown knows neither.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?([\w.]+)`")

EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


class References(griffe.Extension):
    """Turns names of symbols into links where the reference has them, and fences doctests."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Change every docstring of the package."""
        self.package = pkg
        self._visit(pkg)

    def _visit(self, described: griffe.Object) -> None:
        if described.docstring:
            text = EXAMPLE.sub("```pycon\\n\\g<0>\\n```", described.docstring.value)
            described.docstring.value = ROLE.sub(
                lambda found: self._link(described, found[1]), text
            )
        for member in described.members.values():
            if isinstance(member, griffe.Object):
                self._visit(member)

    def _link(self, where: griffe.Object, name: str) -> str:
        path = self._path(where, name)
        if path is None or any(part.startswith("_") for part in path.split(".")):
            return f"`{name}`"
        return f"[`{name.removeprefix('dance.')}`][{path}]"

    def _path(self, where: griffe.Object, name: str) -> str | None:
        """The full name of what a name means in an object; None if it is none of the package."""
        first, *rest = name.split(".")
        try:
            path = ".".join([name if first == "dance" else where.resolve(first), *rest])
            found = self.package[(name if first == "dance" else path).removeprefix("dance.")]
            return found.canonical_path
        except (griffe.GriffeError, KeyError):
            return None
