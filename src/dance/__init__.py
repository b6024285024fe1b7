"""Dataset condensation: make a very small synthetic training set out of a large labelled image set.

``dance.condense(data, ...)`` makes a condensed set, ``dance.load(path)`` reads one and
``dance.evaluate(path)`` scores one. ``dance.read_scores(run)`` gives all scores of a run,
``dance.write_report(run)`` its page, ``dance.compare(run, run)`` sets several side by side, and
``dance.load_images(data)`` loads real images. ``dance.list_methods()`` and the like give the names
that these take. All are imported when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module takes longer to import than the rest of the start
    from typing import Any

__version__ = "0.2.0"
_HOMES = {
    "CondensedSet": "dance.condensed",
    "DanceError": "dance.core.errors",
    "ImageSet": "dance.data",
    "Score": "dance.condensed",
    "compare": "dance.api",
    "condense": "dance.api",
    "evaluate": "dance.api",
    "list_datasets": "dance.api",
    "list_methods": "dance.api",
    "list_networks": "dance.api",
    "list_protocols": "dance.api",
    "list_recipes": "dance.api",
    "list_zoo": "dance.api",
    "load": "dance.condensed",
    "load_images": "dance.api",
    "read_scores": "dance.api",
    "write_report": "dance.api",
}
"""The module of each public name."""
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dance' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), "load_set" if name == "load" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
