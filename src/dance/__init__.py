"""Dataset condensation: a large labelled image set becomes a very small one that trains as well.

``dance.condense(data, ...)`` makes a set, ``dance.load(path)`` reads one, ``dance.evaluate(path)``
scores one; all are imported when first used, so that the command line starts fast.
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
