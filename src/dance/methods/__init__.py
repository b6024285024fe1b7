"""Methods, a file each: its settings, its state and its step. ``dance list methods`` shows all."""

from dance.methods.base import (
    METHODS,
    Banked,
    Condensation,
    CondensationTask,
    Condenser,
    Coreset,
    Method,
)

__all__ = [
    "METHODS",
    "Banked",
    "Condensation",
    "CondensationTask",
    "Condenser",
    "Coreset",
    "Method",
]
