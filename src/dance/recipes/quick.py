"""Quick variants: runs of minutes on two cores, for trying out a method.

They are not expected to reach published numbers. The settings here are the same for all methods;
further ones for a method are registered with its recipes. Experts are trained for at least 300
steps: in a small data set, six epochs are too few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dance.core.config import merge, settings
from dance.data.known import KNOWN
from dance.methods import METHODS
from dance.recipes.base import QUICK, VARIANTS, Variant

_TEACHER: Mapping[str, Any] = {
    "count": 1, "lengths": [0.5, 1.0], "temperatures": [1.0, 4.0], "students": 1,
}  # fmt: skip
_COMMON: Mapping[str, Any] = {
    "experts": {"count": 1, "epochs": 6},
    "options": {"iterations": 150},
    "evaluation": {"protocol": "quick-v1", "repeats": 3},
    "teacher": _TEACHER,
}
_TINY: Mapping[str, Any] = {
    "experts": {"count": 3, "epochs": 20},
    "options": {"iterations": 200},
    "evaluation": {"protocol": "quick-v1", "repeats": 5},
    "teacher": _TEACHER,
}
"""For tiny data sets, which allow more training in the same time."""
_TINY_PIXELS = 1_000_000
"""Number of pixels of all training images of a known data set below which it is tiny."""


_LEAST_STEPS = 300
"""Smallest number of SGD steps of an expert."""


def _settings(method: str, data: str, steps: int | None) -> dict[str, Any]:
    """The plain settings that a quick variant changes.

    Args:
        method: name of the method; settings that it does not have are left out.
        data: name or path; empty for any data set that is not tiny.
        steps: of an epoch of an expert, which decide for how many epochs it is trained at least.
    """
    found = merge(
        _TINY if _is_tiny(data) else _COMMON, QUICK.get(method) if method in QUICK else {}
    )
    if steps is not None:
        epochs = max(found["experts"]["epochs"], math.ceil(_LEAST_STEPS / steps))
        found = merge(found, {"experts": {"epochs": epochs}})
    known = {setting.name for setting in settings(METHODS.get(method).Config)}
    found["options"] = {name: value for name, value in found["options"].items() if name in known}
    return found


def _is_tiny(data: str) -> bool:
    """Whether networks train on this data set in seconds; assumed false for unknown sets."""
    if data not in KNOWN:
        return False
    known = KNOWN.get(data)
    return known.train[1] * known.size**2 < _TINY_PIXELS


VARIANTS.register("quick")(Variant("a run of minutes on two cores", _settings))
