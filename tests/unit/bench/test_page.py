"""The tables say what the record says."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from pyarrow import parquet

from dance.bench import page
from dance.bench.plan import TIMES, read_plan
from dance.bench.timing import summary
from dance.core.files import write_json


def entry(name: str, seconds: list[float], **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "method": "dance",
        "title": "DANCE",
        "precision": "float32",
        "seconds": summary(seconds),
        "times_reference": summary([2.0]),
        "steps": 1,
        "classes_timed": 10,
        "peak_bytes": 900_000_000,
        "step_bytes": 120_000_000,
        "ready_seconds": 2.25,
        "operations": 10**12,
        "operations_per_second": 2.5e11,
        "share_of_matmul": 0.5,
        **facts,
    }


RECORD: dict[str, Any] = {
    "created": "2026-01-01T00:00:00+00:00",
    "seed": 0,
    "rounds": 3,
    "precision": "float32",
    "machine": {
        "device": "a processor, 2 threads",
        "cores": 2,
        "threads": 2,
        "load_average": 0.25,
        "torch": "2.13",
        "kernels": "avx512",
        "ceilings": {"float32": {"flops": 5e11, "side": 2048, "copy_bytes": 2e10}},
    },
    "data": "cifar10",
    "name": "cifar10",
    "classes": 10,
    "ipc": 10,
    "entries": [
        entry("reference", [8.0, 9.0, 10.0], classes_timed=4),
        entry("exact", [4.0, 4.5, 5.0]),
        entry("bank", [1.0, 1.0, 1.0], ready_seconds=None, step_bytes=None),
        entry("mtt", [0.5], method="mtt", title="MTT"),
        entry("dc", [0.5, 0.7], method="dc", title="DC", steps=10),
    ],
    "phases": {"rest": summary([0.25]), "real": summary([0.75])},
    "watched": summary([1.02]),
    "training": [
        {
            "what": "testing",
            "name": "cifar10",
            "ipc": None,
            "members": 1,
            "images_per_second": {"reference": summary([100.0]), "exact": summary([2500.4])},
            "times_reference": summary([25.0]),
        }
    ],
    "skipped": {"dm": "because"},
}


def cells(title: str, record: dict[str, Any] = RECORD) -> list[tuple[str, ...]]:
    found = [table for table in page.tables([record], page.median) if title in table.title]
    assert len(found) == 1
    for row in found[0].rows:
        assert len(row) == len(found[0].columns)
    return list(found[0].rows)


def test_steps_and_who_was_scaled_up() -> None:
    rows = cells("Condensation")
    assert rows[0] == ("cifar10", "10", "reference", "9.00 s *", "2.0x", "250.0", "50 %")
    assert rows[1][2:4] == ("exact", "4.50 s")


def test_phases_have_shares_of_their_sum() -> None:
    assert [row[2:] for row in cells("Where")] == [
        ("rest", "250 ms", "25 %"),
        ("real", "750 ms", "75 %"),
    ]


def test_memory_stands_beside_the_papers_on_its_own_data_alone() -> None:
    rows = cells("Memory")
    assert rows[1][3:] == ("120 MB", "900 MB", "3,045 MB", "2.2 s")
    assert rows[2][3:] == ("unknown", "900 MB", "3,045 MB", "")
    other = copy.deepcopy(RECORD)
    other["name"] = "photos"
    assert cells("Memory", other)[1][5] == ""


def test_an_iteration_has_a_row_for_every_method_and_not_for_the_reference() -> None:
    rows = cells("iteration")
    assert [row[2] for row in rows] == ["DANCE", "MTT", "DC"]
    assert rows[0][3:] == ("4.50 s", "1", "3", "0.12 s", "900 MB", "3,045 MB")
    assert rows[1][6] == "0.40 s"
    assert rows[2][3:7] == ("6.00 s", "10", "2", "3.31 s")
    large = copy.deepcopy(RECORD)
    large["ipc"] = 50
    assert cells("iteration", large)[1][6] == "out of memory with 50 images per class"
    large["ipc"] = 20
    assert cells("iteration", large)[1][6] == ""


def test_without_the_reference_only_iterations_are_shown() -> None:
    record = RECORD | {"phases": {}, "training": []}
    (table,) = page.tables([record], page.with_quartiles)
    assert table.title == "Seconds and memory of an iteration"
    assert "a processor, 2 threads" in table.note and "NVIDIA A100" in table.note


def test_a_busy_machine_is_named() -> None:
    assert "**The machine was busy" not in " ".join(page.preface([RECORD]))
    machine = RECORD["machine"] | {"load_average": 12.6}
    lines = page.preface([RECORD, RECORD | {"machine": machine}])
    assert "Load before the cells: 0.2 to 12.6." in lines
    assert any(line.startswith("**The machine was busy") for line in lines)


def test_files_hold_every_entry_and_what_has_no_result(tmp_path: Path) -> None:
    plan = read_plan("speed", {"data": ["cifar10"], "ipc": [10, 50], "methods": ["mtt"]})
    first, second = plan.cells()
    write_json(first.place(tmp_path) / TIMES, RECORD)
    found = page.records([first, second], tmp_path, {second.name: "no memory"})
    assert [(row["entry"], row["status"]) for row in found] == [
        ("reference", "done"), ("exact", "done"), ("bank", "done"), ("mtt", "done"), ("dc", "done"),
        (None, "failed"), (None, "failed"),
    ]  # fmt: skip
    assert found[1]["published_seconds"] == 0.12
    assert found[4]["steps_of_an_iteration"] == 10
    assert found[4]["seconds"] == 10 * RECORD["entries"][4]["seconds"]["median"]
    page.write(plan, [first, second], found, tmp_path, "dance bench speed cifar10")
    assert parquet.read_table(tmp_path / "results.parquet").to_pylist() == found
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["rows"] == found and record["measured"] == [RECORD]
    assert "\\toprule" in (tmp_path / "results.tex").read_text()
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("# Speed\n\n`dance bench speed cifar10`\n")
    assert "2026-01-01; a processor, 2 threads, 2 cores, torch 2.13, kernels avx512;" in text
    assert "float32 500 GFLOP/s in products of square matrices with 2,048 rows, 20.0 GB/s" in text
    assert "9.00 s (8.50 s to 9.50 s) *" in text
    assert "Not measured: dm on cifar10 at 10 images per class: because" in text
    assert "at 50 images per class: no memory" in text
    assert text.count("\n## ") == 6
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1, block
