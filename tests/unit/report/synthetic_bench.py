"""The directory of a bench with made-up results; its sets are of random pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dance.condensed import CondensedSet
from dance.data.normalization import Normalization

TITLES = {"dance": "DANCE", "dm": "DM", "random": "Random selection"}


def row(
    data: str, ipc: int | None, method: str, accuracy: float | None, **changes: Any
) -> dict[str, Any]:
    """One record of ``results.json``."""
    made = {
        "data": data,
        "ipc": ipc,
        "method": method,
        "point": "",
        "network": "convnet",
        "protocol": "quick-v1",
        "labels": "hard",
        "bytes_per_class": 64 * (ipc or 0),
        "budget": "40 steps",
        "status": "done",
        "accuracy": accuracy,
        "ratio": 0.5,
        "over_condensations": 0.4,
        "over_networks": 1.1,
        "condensations": 2,
        "networks": 3,
        "low": None if accuracy is None else accuracy - 1.5,
        "high": None if accuracy is None else accuracy + 1.5,
        "interval_over": "condensations",
        "best_epoch": accuracy,
        "difference": None,
        "verdict": "",
        "storage_bytes": 640 * (ipc or 0),
        "build_seconds": {"random": 0.001, "dm": 30.0}.get(method, 200.0) * (ipc or 0),
        "runs": f"cells/{data}-{method}-ipc{ipc}-seed0",
        "reason": None,
    }
    return made | changes


def rows() -> list[dict[str, Any]]:
    """Two data sets, two budgets, three methods, soft labels, and two cells without a result."""
    accuracies = {"dance": 70.0, "dm": 65.0, "random": 40.0}
    found = [
        row(data, ipc, method, accuracies[method] + ipc - 10 * (data == "cifar10"))
        for data in ("digits", "cifar10")
        for ipc in (1, 10)
        for method in accuracies
    ]
    found[1] |= {"difference": -5.0, "difference_low": -8.0, "difference_high": -2.0,
                 "difference_over": "condensations", "verdict": "worse"}  # fmt: skip
    found[0] |= {"published": 73.0, "published_std": 0.3, "published_source": "paper, Table 1",
                 "minus_published": -2.0}  # fmt: skip
    found.append(row("digits", 1, "dance", 75.0, labels="soft", bytes_per_class=104))
    found.append(row("digits", None, "whole", 97.0, runs=found[0]["runs"], bytes_per_class=9_000,
                     ratio=100.0, build_seconds=None))  # fmt: skip
    lost = {"low": None, "high": None, "network": None, "protocol": None, "labels": None}
    found.append(row("digits", 1, "idm", None, **lost, status="failed", reason="no <b>memory</b>"))
    found.append(row("digits", 10, "idm", None, **lost, status="not run"))
    return found


def write_bench(
    directory: Path, found: Sequence[Mapping[str, Any]], classes: Sequence[str] = ("a", "b", "c")
) -> Path:
    """Write ``results.json`` and a set for each run that it names, and return the directory."""
    for each in found:
        if each["status"] != "done" or each["method"] not in TITLES:
            continue
        place, ipc = directory / each["runs"], each["ipc"]
        place.mkdir(parents=True, exist_ok=True)
        CondensedSet(
            pixels=torch.rand(
                len(classes) * ipc, 1, 8, 8, generator=torch.Generator().manual_seed(1)
            ),
            labels=torch.arange(len(classes)).repeat_interleave(ipc),
            classes=tuple(classes),
            normalization=Normalization((0.5,), (0.25,)),
            provenance={"label": TITLES[each["method"]]},
        ).save(place / "condensed.safetensors")
    plan = {"title": "Three methods", "config": "quick", "settings": {"factor": 1},
            "left_out": "ipc 50; data cifar100"}  # fmt: skip
    content = {"plan": plan, "command": "dance bench plan.yaml --quick", "rows": list(found)}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps(content), encoding="utf-8")
    (directory / "results.md").write_text("# Three methods\n")
    return directory
