"""Quick variants: runs of minutes on two cores, to try things.

They are not expected to reach the number of any paper. What is here is the same for all methods;
the other settings that a method shortens are registered with its recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dance.core.config import merge, settings
from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import QUICK

_TEACHER: Mapping[str, Any] = {
    "count": 1, "lengths": [0.5, 1.0], "temperatures": [1.0, 4.0], "students": 1,
}  # fmt: skip
_COMMON: Mapping[str, Any] = {
    "experts": {"count": 1, "epochs": 6},
    "options": {"iterations": 150},
    "evaluation": {"protocol": "quick-v1", "repeats": 3},
    "teacher": _TEACHER,
}
_DIGITS: Mapping[str, Any] = {
    "experts": {"count": 3, "epochs": 20},
    "options": {"iterations": 200},
    "evaluation": {"protocol": "quick-v1", "repeats": 5},
    "teacher": _TEACHER,
}
"""The digits are so small that more of everything fits in the same time."""


def quick_settings(method: str = RunConfig.method, data: str = "") -> dict[str, Any]:
    """What a quick variant changes, as plain settings over those of a method for a data set.

    Args:
        method: name of the method; iterations are shortened where it has any.
        data: name or path; empty: any but the digits.
    """
    common = _DIGITS if data == "digits" else _COMMON
    found = merge(common, QUICK.get(method) if method in QUICK else {})
    known = {setting.name for setting in settings(METHODS.get(method).Config)}
    found["options"] = {name: value for name, value in found["options"].items() if name in known}
    return found
