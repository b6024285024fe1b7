"""A digest of the source code: unfinished work is resumed only by the code that began it."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_EXCLUDED = ("bench", "cli", "report")
"""Packages whose code does not affect results."""
_C_COMMENT = re.compile(rb"//[^\n]*|/\*.*?\*/", re.DOTALL)


@cache
def package_sources() -> dict[str, bytes]:
    """The package's sources (.py and .c) that decide results, by their path inside it.

    They are read once per process, so that the digest is that of the code that is running, even if
    its files change meanwhile.
    """
    paths = (path for pattern in ("**/*.py", "**/*.c") for path in _PACKAGE.glob(pattern))
    names = sorted(path.relative_to(_PACKAGE).as_posix() for path in paths)
    return {n: (_PACKAGE / n).read_bytes() for n in names if n.partition("/")[0] not in _EXCLUDED}


@cache
def code_digest() -> str:
    """16 hex digits of SHA-256 over the package's sources, without comments and layout.

    The digest of a Python source is that of its syntax tree without docstrings, so two versions of
    Python may give different digests. It does not depend on where the package is installed.
    """
    total = hashlib.sha256()
    for name, source in package_sources().items():
        total.update(f"{name}|{_digest(name, source)}\n".encode())
    return total.hexdigest()[:16]


@cache
def outside_digest(owner: type) -> str:
    """The digest of the module that defines a class outside of this package.

    Returns:
        16 hex digits, computed like :func:`code_digest`; an empty string for a class of this
        package, which that digest covers, and for one that no file defines, as in a notebook.
    """
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    if file is None or _PACKAGE in Path(file).resolve().parents:
        return ""
    return _digest(Path(file).name, Path(file).read_bytes())[:16]


def _digest(name: str, source: bytes) -> str:
    """SHA-256 of a source without comments, docstrings and layout."""
    if name.endswith(".py"):
        tree = ast.parse(source)
        _drop_docstrings(tree)
        content = ast.dump(tree).encode()
    else:
        content = b" ".join(_C_COMMENT.sub(b" ", source).split())
    return hashlib.sha256(content).hexdigest()


def _drop_docstrings(node: ast.AST) -> None:
    """Remove the statements that are only a string, those that document attributes included."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        statements = getattr(node, name, None)
        if not isinstance(statements, list):  # a conditional expression has branches, too
            continue
        statements[:] = [
            statement
            for statement in statements
            if not (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            )
        ]
        for statement in statements:
            _drop_docstrings(statement)
