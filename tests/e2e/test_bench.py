"""``dance bench speed`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.command import command, done


def test_digits_in_one_round(tmp_path: Path) -> None:
    """What it prints, what it keeps, and that the keys of the record hold sound numbers."""
    words = ("bench", "speed", "digits", "--ipc", "1", "--rounds", "1", "--network.width", "16")
    outcome = done(*words, "--methods", "dm", "--output", tmp_path)
    for word in ("reference", "exact", "bank", "experts", "ceilings: float32"):
        assert word in outcome.out
    record = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert record["format"] == 1
    assert record["command"].startswith("dance bench speed digits --ipc 1 --rounds 1")
    assert record["seed"] == 0
    machine = record["machine"]
    assert machine["torch"]
    assert machine["threads"] >= 1
    for dtype in ("float32", "bfloat16"):
        assert machine["ceilings"][dtype]["flops"] > 1e8
        assert machine["ceilings"][dtype]["copy_bytes"] > 1e8
    (case,) = record["steps"]
    assert [case[name] for name in ("data", "classes", "ipc", "factor")] == ["digits", 10, 1, 1]
    rows = {row["name"]: row for row in case["contestants"]}
    assert set(rows) == {"reference", "exact", "bank", "dm"}
    for row in rows.values():
        assert len(row["seconds"]["samples"]) == 1
        assert row["seconds"]["median"] > 0
        assert 1e8 < row["peak_bytes"] < 1e10
        assert 0 < row["step_bytes"] < row["peak_bytes"]
        assert row["ready_seconds"] > 0
    assert rows["exact"]["operations"] > rows["bank"]["operations"]
    assert rows["reference"]["times_reference"]["median"] == 1
    assert {row["what"] for row in record["training"]} == {
        "experts",
        "testing",
        "evaluation",
    }
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert page.startswith("# Speed\n")
    assert record["command"] in page
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".json", ".md")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("speed", "cifar11"), "unknown data set 'cifar11'"),
        (("speed", "digits", "--ipc", "0"), "ipc must be at least 1: got 0"),
        (("speed", "digits", "--ipc", "1", "1000"), "images per class must not exceed"),
        (("speed", "digits", "--methods", "random"), "methods must be ones that optimise canvases"),
        (("speed", "digits", "--methods", "dn"), "unknown method 'dn'"),
        (("speed", "digits", "--rounds", "0"), "rounds must be at least 1: got 0"),
        (("speed", "digits", "--threads", "0"), "threads must be at least 1: got 0"),
        (("speed", "digits", "--network.name", "mlp"), "written for ConvNets"),
        (("sped", "digits"), "cannot measure 'sped'; did you mean 'speed'?"),
        ((), "required: WHAT"),
    ],
)
def test_refused_before_anything_is_measured(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    outcome = command("bench", *words, "--output", tmp_path / "out")
    assert outcome.code == 2, outcome.err
    assert says in outcome.err
    assert outcome.out == ""
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_costs_no_measuring(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("mine", encoding="utf-8")
    outcome = command("bench", "speed", "digits", "--ipc", "1", "--output", place)
    assert outcome.code == 2, outcome.err
    assert "cannot write" in outcome.err
    assert place.read_text(encoding="utf-8") == "mine"
