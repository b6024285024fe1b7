"""A digest of the source code: unfinished work is resumed only by the code that began it."""

from __future__ import annotations

import ast
import hashlib
import linecache
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_EXCLUDED = ("bench", "cli", "report")
"""Packages whose code does not affect results."""
_C_COMMENT = re.compile(rb"//[^\n]*|/\*.*?\*/", re.DOTALL)


@cache
def package_sources() -> dict[str, bytes]:
    """The package's sources (.py, .c and .h) that decide results, by their path inside it.

    They are read once per process, so that the digest is that of the code that is running, even if
    its files change meanwhile.
    """
    paths = (path for ending in ("py", "c", "h") for path in _PACKAGE.glob(f"**/*.{ending}"))
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


def outside_digest(owner: type | Callable[..., object]) -> str:
    """The digest of the module that defines a class or callable outside of this package.

    In a notebook, it is that of the definition itself and of all that it uses of the notebook.

    Returns:
        16 hex digits, computed like :func:`code_digest`; an empty string for what this package or
        the interpreter defines. For what was typed at a prompt, where the source is not kept, a
        text that no other definition and no other process has.
    """
    while isinstance(owner, partial):
        owner = owner.func
    return _outside_digest(owner if hasattr(owner, "__qualname__") else type(owner))


@cache
def _outside_digest(owner: type | Callable[..., object]) -> str:
    module = sys.modules.get(owner.__module__)
    file = getattr(module, "__file__", None)
    if file is None and owner.__module__ == "__main__":
        statements = _typed(owner, {})
        if not statements[id(owner)]:
            return f"typed at a prompt, session {secrets.token_hex(4)}"
        texts = sorted({text for texts in statements.values() for text in texts})
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    if file is None or not Path(file).is_file() or _PACKAGE in Path(file).resolve().parents:
        return ""
    return _digest(Path(file).name, Path(file).read_bytes())[:16]


def _typed(owner: Any, found: dict[int, set[str]]) -> dict[int, set[str]]:
    """Statements of a notebook that define a class or function and what it uses, by its identity.

    Those whose source is not kept, as that of generated methods, are left out.

    Args:
        owner: the class or function.
        found: so far; it is added to.
    """
    if id(owner) in found or getattr(owner, "__module__", None) != "__main__":
        return found
    members = [*vars(owner).values(), *owner.__bases__] if isinstance(owner, type) else [owner]
    members = [getattr(member, "__func__", getattr(member, "fget", member)) for member in members]
    functions = [member for member in members if isinstance(member, FunctionType)]
    found[id(owner)] = {text for each in functions if (text := _statement(each.__code__))}
    used = [each.__globals__.get(name) for each in functions for name in _names(each.__code__)]
    for member in (*members, *used):
        if isinstance(member, type | FunctionType) and member is not owner:
            _typed(member, found)
    return found


def _names(code: CodeType) -> Iterator[str]:
    """Names that a function and those inside it may take from its module."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _statement(code: CodeType) -> str:
    """The statement of a cell that a function is part of, without docstrings; empty if unknown."""
    source = "".join(linecache.getlines(code.co_filename))
    if not source:
        return ""
    tree = ast.parse(source)
    _drop_docstrings(tree)
    within = (
        statement
        for statement in tree.body
        if statement.lineno <= code.co_firstlineno <= (statement.end_lineno or 0)
        or code.co_firstlineno in [d.lineno for d in getattr(statement, "decorator_list", [])]
    )
    return "".join(map(ast.dump, within))


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
