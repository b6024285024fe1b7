"""The costs of a run, as ``costs.json`` holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BUILDING = ("experts", "trajectories", "initial", "bank", "condense", "labels")
"""Phases of a run before the set is scored."""


def build_seconds(costs: Mapping[str, Any]) -> float | None:
    """Seconds until the set was finished; None if no phase was recorded.

    >>> build_seconds({"experts_seconds": 2.0, "trajectories_seconds": 3.0, "bank_seconds": 4.0})
    9.0
    """
    parts = [costs.get(f"{phase}_seconds") for phase in _BUILDING]
    known = [float(part) for part in parts if part is not None]
    return sum(known) if known else None
