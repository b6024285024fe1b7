"""Which code made a result: a digest that unfinished work must agree with to be continued."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ASIDE = ("bench", "cli", "report")
"""Rooms whose code decides no result: what they measure, parse or print is made elsewhere."""


@cache
def code_digest() -> str:
    """16 hex digits of SHA-256 over the package's sources (.py and .c) that decide results.

    Read once per process. Two copies of the same sources agree wherever they lie.
    """
    root = Path(__file__).resolve().parents[1]
    sources = [
        path.relative_to(root)
        for pattern in ("**/*.py", "**/*.c")
        for path in root.glob(pattern)
        if path.relative_to(root).parts[0] not in _ASIDE
    ]
    total = hashlib.sha256()
    for source in sorted(sources, key=Path.as_posix):
        content = hashlib.sha256((root / source).read_bytes()).hexdigest()
        total.update(f"{source.as_posix()}|{content}\n".encode())
    return total.hexdigest()[:16]
