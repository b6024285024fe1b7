"""Dataset condensation: make a very small synthetic training set out of a large labelled image set.

``dance.condense(data, ...)`` makes a condensed set, ``dance.load(path)`` reads one and
``dance.evaluate(path)`` scores one. They are imported when they are first used, so that the command
line starts fast.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "condense", "evaluate", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from dance.condensed import load_set

        return load_set
    if name in ("condense", "evaluate"):
        from dance import api

        return getattr(api, name)
    raise AttributeError(f"module 'dance' has no attribute {name!r}")
