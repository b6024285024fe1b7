"""``dance bench`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dance import engine
from e2e.command import command, done


@pytest.mark.slow
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
    rows = {row["name"]: row for row in case["entries"]}
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
        (
            ("speed", "digits", "--methods", "random"),
            "methods must be ones that optimise stored images",
        ),
        (("speed", "digits", "--methods", "dn"), "unknown method 'dn'"),
        (("speed", "digits", "--rounds", "0"), "rounds must be at least 1: got 0"),
        (("speed", "digits", "--threads", "0"), "threads must be at least 1: got 0"),
        (("speed", "digits", "--network.name", "mlp"), "written for ConvNets"),
        (("speed", "digits", "--seconds", "3"), "--seconds is an option of dance bench methods"),
        (("methods", "digits", "--rounds", "3"), "--rounds is an option of dance bench speed"),
        (("methods", "digits"), "one budget, --seconds of condensing or --updates"),
        (("methods", "digits", "--seconds", "3", "--updates", "3"), "got both"),
        (("methods", "digits", "--seconds", "nan"), "seconds must be more than 0: got nan"),
        (("methods", "digits", "--updates", "0"), "updates must be more than 0: got 0"),
        (("methods", "--updates", "1"), "must name its data: got none"),
        (("methods", "digits", "--updates", "1", "--methods", "dn"), "unknown method 'dn'"),
        (("methods", "digits", "--updates", "1", "--options.power", "4"), "unknown option"),
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


SMALL = ("bench", "methods", "digits", "--ipc", "1", "--network.width", "8", "--repeats", "2")
SHORT = ("--epochs", "2", "--experts.epochs", "1", "--experts.count", "1")


def test_methods_under_one_number_of_updates(tmp_path: Path) -> None:
    """One row for each, with the requested network instead of that of the recipe."""
    words = (*SMALL, *SHORT, "--methods", "random", "dm", "datadam", "dance", "--output", tmp_path)
    outcome = done(*words, "--updates", "3")
    record = json.loads((tmp_path / "methods.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in record["rows"]}
    assert set(rows) == {"random", "dm", "datadam", "dance"}
    assert [rows[name]["updates"] for name in ("random", "dm", "datadam", "dance")] == [
        None, 3, 3, 3,
    ]  # fmt: skip
    for row in rows.values():
        (score,) = row["scores"]
        assert score["subject"] == "condensed"
        assert len(score["seeds"]) == 2
        assert row["title"] in outcome.out
        assert row["asked"]["network"]["norm"] == "instance"
        assert row["asked"]["network"]["width"] == 8
        run = tmp_path / row["run"]
        steps = (run / "metrics.jsonl").read_text().splitlines() if row["updates"] else []
        assert len(steps) == (row["updates"] or 0)
    assert rows["dance"]["asked"]["options"]["real_targets"] == "exact"
    assert rows["dance"]["before_seconds"] > 0
    assert rows["dm"]["networks_bytes"] == 0 < rows["dance"]["networks_bytes"]
    written = (tmp_path / "methods.json").read_bytes()
    again = done(*words, "--updates", "3")
    assert "condensing with" not in again.err
    assert (tmp_path / "methods.json").read_bytes() == written
    other = command(*words, "--updates", "4")
    assert other.code == 2
    assert "must hold rows of the same budget, 4 updates" in other.err


def test_a_method_under_a_number_of_seconds(tmp_path: Path) -> None:
    """Its steps fill the seconds: neither a tenth of them nor many times as long."""
    done(*SMALL, *SHORT, "--methods", "dm", "--seconds", "1.5", "--output", tmp_path)
    (row,) = json.loads((tmp_path / "methods.json").read_text(encoding="utf-8"))["rows"]
    assert row["updates"] > 1
    assert 0.15 < row["condense_seconds"] < 6


def test_what_could_not_be_made_is_kept_once_and_other_files_are_left_alone(tmp_path: Path) -> None:
    words = (*SMALL, *SHORT, "--updates", "1", "--output", tmp_path, "--methods")
    for _ in range(2):
        outcome = done(*words, "random", "--ipc", "1", "1000")
        assert outcome.out.count("left out: random, digits, ipc 1000: ") == 1
    assert "left out: random" in done(*words, "dm").out
    place = tmp_path / "methods.json"
    assert [row["method"] for row in json.loads(place.read_text())["rows"]] == ["random", "dm"]
    for text in ("[]", "{}", '{"format": 1}'):
        place.write_text(text, encoding="utf-8")
        outcome = command(*words, "random")
        assert outcome.code == 2
        assert "must be a record that this version wrote" in outcome.err
        assert place.read_text(encoding="utf-8") == text


def test_commands_side_by_side_fill_one_table(tmp_path: Path, monkeypatch) -> None:
    """A second command adds its row while the first is making one."""
    words = (*SMALL, *SHORT, "--updates", "1", "--output", tmp_path, "--methods")
    made = engine.run

    def run(*given: Any) -> Path:
        monkeypatch.setattr(engine, "run", made)
        done(*words, "dm")
        return made(*given)

    monkeypatch.setattr(engine, "run", run)
    assert "DM" in done(*words, "random").out
    rows = json.loads((tmp_path / "methods.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["dm", "random"]
