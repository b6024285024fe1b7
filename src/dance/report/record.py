"""A run directory as plain, checked data: the only place of the report that reads files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dance.condensed import CondensedSet, load_set
from dance.core.errors import ArtifactError
from dance.core.files import read_json


@dataclass(frozen=True)
class Statistic:
    """One accuracy over the trained networks; all values are fractions in [0, 1]."""

    values: tuple[float, ...]
    mean: float
    std: float | None
    interval: tuple[float, float] | None
    """95 % confidence interval of the mean; None where one network gives none."""


@dataclass(frozen=True)
class Score:
    """What networks trained on one set reached under one protocol."""

    subject: str
    label: str
    protocol: str
    network: str
    parameters: int | None
    epochs: int | None
    last: Statistic
    best: Statistic | None
    """Statistic of the epoch that was best on the test images: optimistic."""
    per_class: tuple[float, ...]
    confusion: tuple[tuple[float, ...], ...]
    """(K, K) counts, rows are the true classes; empty where it was not kept."""
    curve_epochs: tuple[int, ...]
    curve: tuple[tuple[float, ...], ...]
    """(R, points) test accuracy at ``curve_epochs``."""
    test_images: int | None
    train_images: int | None
    storage_bytes: int | None
    seconds: float | None
    peak_memory_bytes: int | None
    device: str
    notes: tuple[str, ...]
    labels: str = "hard"

    @property
    def setting(self) -> str:
        """What rows must share beside the network to be compared: the protocol and the labels."""
        return self.protocol if self.labels == "hard" else f"{self.protocol}, {self.labels} labels"


@dataclass(frozen=True)
class Run:
    """Everything a run directory holds that the report shows."""

    directory: Path
    condensed: CondensedSet
    initial: CondensedSet | None
    scores: tuple[Score, ...]
    losses: Mapping[str, Sequence[tuple[int, float]]]
    """Loss name to (step, value), steps ascending, values as logged (may be non-finite)."""
    config: Mapping[str, Any]
    config_text: str
    environment: Mapping[str, Any]
    costs: Mapping[str, Any]
    notes: tuple[str, ...]


def read_run(directory: Path) -> Run:
    """Read a run directory; parts that are not there yet are empty.

    Raises:
        ArtifactError: there is no such directory, no condensed set in it, or a file is damaged.
    """
    if not directory.is_dir():
        raise ArtifactError(f"a report needs a run directory: there is none at {directory}")
    condensed = load_set(directory / "condensed.safetensors")
    initial = directory / "initial.safetensors"
    scores = _scores(directory, condensed)
    config_text, config = _config(directory / "config.yaml")
    notes = [str(note) for note in condensed.provenance.get("notes") or ()]
    notes += [note for score in scores for note in score.notes]
    return Run(
        directory=directory,
        condensed=condensed,
        initial=load_set(initial) if initial.exists() else None,
        scores=scores,
        losses=_losses(directory / "metrics.jsonl"),
        config=config,
        config_text=config_text,
        environment=_mapping(directory / "environment.json"),
        costs=_costs(directory / "costs.json"),
        notes=tuple(dict.fromkeys(notes)),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(
            f"{path} is damaged: it must hold a JSON object; delete it and run again"
        )
    return content


def _costs(path: Path) -> Mapping[str, Any]:
    costs = _mapping(path)
    experts = costs.get("experts") or []
    if not isinstance(experts, list) or not all(isinstance(row, dict) for row in experts):
        raise ArtifactError(f"{path} is damaged: experts must be a list of objects")
    for row in ({key: value for key, value in costs.items() if key != "experts"}, *experts):
        for key, value in row.items():
            if not isinstance(value, int | float | None):
                raise ArtifactError(f"{path} is damaged: {key} must be a number: got {value!r}")
    return costs


def _config(path: Path) -> tuple[str, Mapping[str, Any]]:
    if not path.exists():
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is damaged (no YAML): {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is damaged: it must hold keys and values")
    return text, content


def _scores(directory: Path, condensed: CondensedSet) -> tuple[Score, ...]:
    path = directory / "scores.json"
    place, entries = (
        (path, read_json(path))
        if path.exists()
        else (directory / "condensed.safetensors", condensed.scores)
    )
    if not isinstance(entries, list):
        raise ArtifactError(f"{place} is damaged: it must hold a list of scores; evaluate again")
    try:
        return tuple(_score(entry, condensed.num_classes) for entry in entries)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{place} is damaged: a score is incomplete or malformed ({error!r}); evaluate again"
        ) from error


def _score(entry: Mapping[str, Any], classes: int) -> Score:
    curve = entry.get("curve") or {"epochs": [], "accuracy": []}
    epochs = tuple(int(epoch) for epoch in curve["epochs"])
    lines = tuple(tuple(float(value) for value in line) for line in curve["accuracy"])
    per_class = tuple(float(value) for value in entry.get("per_class") or ())
    confusion = tuple(tuple(float(count) for count in row) for row in entry.get("confusion") or ())
    if per_class and len(per_class) != classes:
        raise ValueError(f"{len(per_class)} per-class accuracies of {classes} classes")
    if confusion and (len(confusion) != classes or any(len(row) != classes for row in confusion)):
        raise ValueError(f"the confusion matrix must be {classes} x {classes}")
    if any(len(line) != len(epochs) for line in lines):
        raise ValueError("an accuracy curve and its epochs differ in length")
    return Score(
        subject=str(entry["subject"]),
        label=str(entry.get("label") or entry["subject"]),
        protocol=str(entry["protocol"]),
        network=str(entry["network"]),
        parameters=_whole(entry.get("parameters")),
        epochs=_whole(entry.get("epochs")),
        last=_statistic(entry["last"]),
        best=_statistic(entry["best"]) if entry.get("best") else None,
        per_class=per_class,
        confusion=confusion,
        curve_epochs=epochs,
        curve=lines,
        test_images=_whole(entry.get("test_images")),
        train_images=_whole(entry.get("train_images")),
        storage_bytes=_whole(entry.get("storage_bytes")),
        seconds=None if entry.get("seconds") is None else float(entry["seconds"]),
        peak_memory_bytes=_whole(entry.get("peak_memory_bytes")),
        device=str(entry.get("device") or ""),
        notes=tuple(str(note) for note in entry.get("notes") or ()),
        labels=str(entry.get("labels") or "hard"),
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _statistic(entry: Mapping[str, Any]) -> Statistic:
    values = tuple(float(value) for value in entry["values"])
    if not values:
        raise ValueError("a statistic must hold the value of at least one network")
    several = len(values) > 1
    std = entry.get("std")
    interval = entry.get("ci95")
    low, high = interval if interval is not None else (math.nan, math.nan)
    known = several and low is not None and high is not None and math.isfinite(low + high)
    return Statistic(
        values=values,
        mean=float(entry["mean"]),
        std=float(std) if several and std is not None and math.isfinite(std) else None,
        interval=(float(low), float(high)) if known else None,
    )


def _losses(path: Path) -> dict[str, list[tuple[int, float]]]:
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"cannot read {path}: {error}") from error
    # A run killed while it wrote leaves a last line without its newline; a resumed run writes the
    # steps since its checkpoint again, and what it wrote last is what happened.
    by_step: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
            entry.pop("seconds", None)
            for name, value in entry.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    by_step.setdefault(name, {})[step] = float(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{path} is damaged at line {number}: {error!r}; delete the line and go on"
            ) from error
    return {name: sorted(points.items()) for name, points in by_step.items()}
