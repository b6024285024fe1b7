"""Imports go down only, and packages of one level do not know each other."""

from __future__ import annotations

import pytest

from architecture.source import Module, library

LAYERS = {
    "core": 0,
    "kernels": 0.5,
    "data": 1,
    "networks": 1,
    "augment": 1,
    "objectives": 1,
    "trackers": 1,
    "condensed": 2,
    "training": 2,
    "experts": 3,
    "evaluation": 3,
    "methods": 4,
    "engine": 5,
    "recipes": 6,
    "report": 7,
    "bench": 7,
    "publish": 7.5,
    "cli": 8,
    "api": 7.5,
    "": 9,  # dance itself, the public face
    "__main__": 9,
}

ONLY = {"report": {"core", "condensed", "data"}}
"""Rooms that may see less than all that lies below: a report never trains."""

OPEN = {"dance.__version__"}
"""Names of the public face that every layer may read."""


def upward_imports(module: Module) -> list[str]:
    """Imports of a module that its layer does not allow."""
    if module.room not in LAYERS:
        return [f"{module.name}: {module.room!r} has no layer: give it one in LAYERS"]
    findings = []
    for node, target in module.imports():
        if target.partition(".")[0] != "dance" or target in OPEN:
            continue
        part = target.partition(".")[2].partition(".")[0]
        room = part if part in LAYERS else ""
        if room == module.room:
            continue
        if LAYERS[room] >= LAYERS[module.room]:
            findings.append(module.at(node, f"imports {target}, which does not lie below it"))
        elif room not in ONLY.get(module.room, {room}):
            findings.append(module.at(node, f"imports {target}: {module.room} may not"))
    return findings


def test_imports_go_down_only() -> None:
    findings = [finding for module in library() for finding in upward_imports(module)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dance.core.rng", "import dance.data"),
        ("dance.core.rng", "from dance.data.imageset import ImageSet"),
        ("dance.core.rng", "def f():\n    from dance import engine"),
        ("dance.core.rng", "from dance import load"),
        ("dance.data.load", "from dance.networks import convnet"),
        ("dance.data.load", "from ..networks import convnet"),
        ("dance.condensed.statistics", "if TYPE_CHECKING:\n    from dance.experts import pool"),
        ("dance.report.page", "from dance.training import fit"),
        ("dance.report.page", "from dance.engine import run"),
        ("dance.attic", "import dance.core"),
    ],
)
def test_finds_an_import_that_goes_up(name: str, text: str) -> None:
    assert len(upward_imports(Module(name, text))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dance.data.load", "from dance.core.errors import DataError"),
        ("dance.data.load", "from .imageset import ImageSet"),
        ("dance.engine", "from dance import __version__"),
        ("dance.report.page", "from dance.condensed import load_set"),
        ("dance.__main__", "from dance.cli.main import main"),
        ("dance.core.rng", "import torch"),
    ],
)
def test_lets_an_import_go_down(name: str, text: str) -> None:
    assert upward_imports(Module(name, text)) == []
