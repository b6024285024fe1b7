"""Quick variants: runs of minutes on two cores, to try things; all their values are here.

No number of a paper is to be expected of them. DANCE's real side is amortised by a bank, which was
measured to lose nothing at these sizes (docs/results/bank.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dance.core.config import merge

_TEACHER: Mapping[str, Any] = {
    "count": 1, "lengths": [0.5, 1.0], "temperatures": [1.0, 4.0], "students": 1,
}  # fmt: skip
QUICK: Mapping[str, Any] = {
    "experts": {"count": 1, "epochs": 6},
    "options": {"iterations": 150, "real_targets": "bank"},
    "evaluation": {"protocol": "quick-v1", "repeats": 3},
    "teacher": _TEACHER,
}
_DIGITS: Mapping[str, Any] = {
    "experts": {"count": 3, "epochs": 20},
    "options": {"iterations": 200, "real_targets": "bank"},
    "evaluation": {"protocol": "quick-v1", "repeats": 5},
    "teacher": _TEACHER,
}
"""The digits are so small that more of everything fits in the same time."""


_CAFE: Mapping[str, Any] = {
    "iterations": 60, "real_batch": 64, "monitor_batch": 8, "inner_cap": 10,
}  # fmt: skip
_METHODS: Mapping[str, Mapping[str, Any]] = {
    "dc": {"options": {"iterations": 15}},
    "dsa": {"options": {"iterations": 20}},
    "idc": {"options": {"iterations": 25}},
    "dream": {"options": {"iterations": 25}},
    "idm": {"options": {"iterations": 25}},
    "cafe": {"options": _CAFE},
    "cafe_dsa": {"options": _CAFE},
    "mtt": {
        "trajectories": {"count": 2, "epochs": 5},
        "options": {
            "iterations": 12,
            "start_epochs": 4,
            "expert_epochs": 2,
            "student_steps": 10,
        },
    },
    "ncfm": {"options": {"real_batch": 128, "frequencies": 1024}},
    "tgdd": {"trajectories": {"count": 2, "epochs": 6}},
}
"""What some methods shorten besides, so that CIFAR-10 at ten images a class takes minutes."""


def quick_settings(data: str, method: str = "dance") -> Mapping[str, Any]:
    """What a quick variant changes, as plain settings over a recipe for ``data``."""
    return merge(_DIGITS if data == "digits" else QUICK, _METHODS.get(method, {}))
