"""A score as an evaluation makes it, of made-up numbers."""

from __future__ import annotations

from typing import Any

from dance.condensed.score import BestStatistic, Curve, Score, Statistic


def made(classes: int = 3, **changes: Any) -> Score:
    """Two networks tested twice; changes name fields."""
    last = {"values": (0.5, 0.25), "mean": 0.375, "std": 0.1767766952966369, "ci95": (0.0, 1.0)}
    confusion = tuple(tuple(4 if row == column else 1 for column in range(classes))
                      for row in range(classes))  # fmt: skip
    facts: dict[str, Any] = {
        "subject": "condensed",
        "label": "DANCE",
        "labels": "hard",
        "protocol": "dance-v1",
        "statistic": "last epoch of the final set",
        "network": "convnet",
        "parameters": 1000,
        "epochs": 20,
        "seeds": (3, 4),
        "last": Statistic(**last),
        "best": BestStatistic(**last, epochs=(20, 10)),
        "per_class": (0.5,) * classes,
        "confusion": confusion,
        "curve": Curve(epochs=(10, 20), accuracy=((0.1, 0.5), (0.25, 0.25))),
        "test_images": 30,
        "train_images": 24,
        "storage_bytes": 640,
        "dataset": "x",
        "data_fingerprint": "f",
        "notes": ("é 汉",),
    }
    return Score(**(facts | changes))
