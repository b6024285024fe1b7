"""Quick variants: runs of minutes on two cores, for trying out a method.

They are not expected to reach published numbers. The settings here are the same for all methods;
further ones for a method are registered with its recipes. Experts are trained for at least 300
steps: in a small data set, six epochs are too few. Networks compute in bfloat16 on processors with
kernels for it, unless the data set is tiny: accuracies were not shown to differ
(docs/results/policies.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dance.core.config import merge, settings
from dance.data.known import KNOWN
from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import QUICK, VARIANTS, Facts, Variant

_TEACHER: Mapping[str, Any] = {
    "count": 1, "lengths": [0.5, 1.0], "temperatures": [1.0, 4.0], "students": 1,
}  # fmt: skip
_COMMON: Mapping[str, Any] = {
    "precision": "auto",
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


def _changes(config: RunConfig, facts: Facts) -> dict[str, Any]:
    """What quick changes; options that the method does not have are left out."""
    method = config.method
    own = QUICK.find(method)
    found = merge(_TINY if is_tiny(facts.data) else _COMMON, own(config, facts) if own else {})
    epochs = at_least_steps(found["experts"]["epochs"], facts)
    found = merge(found, {"experts": {"epochs": epochs}})
    known = {setting.name for setting in settings(METHODS.get(method).Config)}
    found["options"] = {name: value for name, value in found["options"].items() if name in known}
    return found


def at_least_steps(epochs: int, facts: Facts) -> int:
    """Epochs of an expert, as many more as a small data set needs for enough steps."""
    if facts.expert_steps is None:
        return epochs
    return max(epochs, math.ceil(_LEAST_STEPS / facts.expert_steps))


def is_tiny(data: str) -> bool:
    """Whether networks train on this data set in seconds; assumed false for unknown sets."""
    known = KNOWN.find(data)
    return known is not None and known.train[1] * known.size**2 < _TINY_PIXELS


VARIANTS.register("quick")(Variant("a run of minutes on two cores", _changes))
