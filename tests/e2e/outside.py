"""Distributions of one module, as pip would install them, and Python that sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def install(
    place: Path, name: str, module: str, text: str, groups: Mapping[str, Mapping[str, str]]
) -> None:
    """Write a module and what pip notes of its distribution.

    Args:
        place: folder that :func:`python` is given.
        name: of the distribution.
        module: name of the one file.
        text: its content.
        groups: entry points by group.
    """
    (place / f"{module}.py").write_text(text, encoding="utf-8")
    info = place / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {target}\n" for key, target in own.items())
        for group, own in groups.items()
    )
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def python(
    place: Path, *words: str | Path, timeout: int = 240, code: int = 0, **environment: str
) -> str:
    """What a Python that has the distributions in ``place`` prints; it must end with ``code``."""
    path = os.pathsep.join([str(place), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout
