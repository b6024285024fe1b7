"""The tables say what the record says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dance.bench import page
from dance.bench.timing import summary


def entry(name: str, seconds: list[float], **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "method": "dance",
        "title": "DANCE",
        "precision": "float32",
        "seconds": summary(seconds),
        "times_reference": summary([2.0]),
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
    "format": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "command": "dance bench speed cifar10",
    "seed": 0,
    "rounds": 3,
    "precision": "float32",
    "counted": "two for each",
    "machine": {
        "device": "a processor, 2 threads",
        "cores": 2,
        "threads": 2,
        "load_average": 0.25,
        "torch": "2.13",
        "kernels": "avx512",
        "ceilings": {"float32": {"flops": 5e11, "side": 2048, "copy_bytes": 2e10}},
    },
    "steps": [
        {
            "data": "cifar10",
            "name": "cifar10",
            "classes": 10,
            "ipc": 10,
            "entries": [
                entry("reference", [8.0, 9.0, 10.0], classes_timed=4),
                entry("exact", [4.0, 4.5, 5.0]),
                entry("bank", [1.0, 1.0, 1.0], ready_seconds=None, step_bytes=None),
                entry("mtt", [0.5], method="mtt", title="MTT"),
            ],
            "phases": {"rest": summary([0.25]), "real": summary([0.75])},
            "watched": summary([1.02]),
        }
    ],
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
    "skipped": [{"data": "cifar10", "ipc": 10, "method": "dm", "reason": "because"}],
}


def cells(title: str, record: dict[str, Any] = RECORD) -> list[tuple[str, ...]]:
    found = [table for table in page.tables(record, page.median) if title in table.title]
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
    other["steps"][0]["name"] = "photos"
    assert cells("Memory", other)[1][5] == ""


def test_table_4_has_a_row_for_every_method_and_not_for_the_reference() -> None:
    rows = cells("Table 4")
    assert [row[2] for row in rows] == ["DANCE", "MTT"]
    assert rows[0][3:] == ("4.50 s", "0.12 s", "900 MB", "3,045 MB")
    assert rows[1][4] == "0.40 s"
    large = copy.deepcopy(RECORD)
    large["steps"][0]["ipc"] = 50
    assert cells("Table 4", large)[1][4] == "out of memory"


@pytest.mark.parametrize("ipc", [1, 10, 50])
@pytest.mark.parametrize("method", ["dc", "dsa", "dm", "mtt", "idm", "dance"])
def test_the_papers_table_is_whole(method: str, ipc: int) -> None:
    assert page.TABLE_4[method][ipc] == (None, None) or all(page.TABLE_4[method][ipc])


def test_markdown_is_one_page_of_whole_tables() -> None:
    text = page.markdown(json.loads(json.dumps(RECORD)))
    assert text.startswith("# Speed\n\n`dance bench speed cifar10`\n")
    assert "float32 500 GFLOP/s in products of square matrices with 2,048 rows, 20.0 GB/s" in text
    assert "9.00 s (8.50 s to 9.50 s) *" in text
    assert "Not measured: dm on cifar10 at 10 images per class: because" in text
    assert text.count("\n## ") == 5
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1, block
