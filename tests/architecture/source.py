"""The library's source as syntax trees: what the architecture tests look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


@dataclass(frozen=True)
class Module:
    """One parsed module.

    Args:
        name: dotted, such as ``dance.core.rng``; a package has its own name.
        text: the source.
        is_package: whether it is an ``__init__.py``.
    """

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """The package or file right under ``dance``; empty for ``dance`` itself."""
        return self.name.partition(".")[2].partition(".")[0]

    def at(self, node: ast.AST, message: str) -> str:
        """A finding, as editors and people read it."""
        return f"{self.name}:{getattr(node, 'lineno', 1)}: {message}"

    def imports(self) -> Iterator[tuple[ast.AST, str]]:
        """Every import, wherever it stands, with the absolute dotted name of what is fetched."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for alias in node.names:
                    yield node, f"{origin}.{alias.name}"

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call of a dotted name, with its import aliases resolved (``np.x`` -> ``numpy.x``).

        A method of anything but a name starts with a dot: ``(a + b).normal_()`` -> ``.normal_``.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, self.dotted(node.func)

    def dotted(self, node: ast.expr) -> str:
        """The absolute dotted name of an expression, as far as it is one."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        first = self._aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""
        return ".".join([first, *reversed(parts)])

    @cached_property
    def _aliases(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname is not None:
                        names[alias.asname] = alias.name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    names[alias.asname or alias.name] = f"{self._origin(node)}.{alias.name}"
        return names

    def _origin(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        parents = self.name.split(".")
        here = parents[: len(parents) - node.level + self.is_package]
        return ".".join([*here, node.module] if node.module else here)


def library() -> list[Module]:
    """Every module of ``src/dance``."""
    modules = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return modules


def argument(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument, if the call has it."""
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the constants that are docstrings, attribute docstrings included."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
