"""Two commands in one run directory: a second run is refused, and no finished score is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import dance
from dance.core.files import locked, read_json
from dance.engine import scoring
from e2e.command import TINY, command, done

WORDS = ("condense", "digits", *TINY, "--device=cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("finished") / "run"
    done(*WORDS, "--output", place)
    return place


@contextmanager
def locked_by_another(path: Path) -> Iterator[None]:
    """Hold a lock as another process does: a lock of flock belongs to the opened file."""
    with locked(path, "testing"):
        yield


def test_a_second_run_in_one_directory_is_refused(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    shutil.copytree(finished, place)
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    with locked_by_another(place / ".run"):
        outcome = command(*WORDS, "--output", place)
    assert outcome.code == 2
    assert f"another process is making the run in {place} (process {os.getpid()} on" in outcome.err
    assert "Traceback" not in outcome.err
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == before
    done(*WORDS, "--output", place)
    assert not list(place.glob(".*")), "no lock stays"


def test_a_lock_file_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / ".run.lock").write_text("process 1 on elsewhere")
    done(*WORDS, "--output", place)


def test_scores_of_evaluate_survive_a_condense_that_is_still_scoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "run"
    real, nested = scoring.score_set, []

    def evaluate_meanwhile(*args: Any, **options: Any) -> Any:
        if not nested and options["subject"] == "random":
            nested.append(True)
            done("evaluate", place, "--networks=mlp", "--protocol=quick-v1", "--epochs=1",
                 "--repeats=1", "--device=cpu")  # fmt: skip
        return real(*args, **options)

    monkeypatch.setattr(scoring, "score_set", evaluate_meanwhile)
    done(*WORDS, "--output", place)
    rows = [(row["subject"], row["network"]) for row in read_json(place / "scores.json")]
    assert rows == [("condensed", "convnet"), ("condensed", "mlp"), ("random", "convnet")]
    kept = dance.load(place / "condensed.safetensors").scores
    assert {row.network for row in kept} == {"convnet", "mlp"}


def test_a_set_that_is_replaced_while_it_is_scored_keeps_its_scores(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.safetensors"
    shutil.copy(finished / "condensed.safetensors", path)
    real = scoring.score_set

    def replace_meanwhile(*args: Any, **options: Any) -> Any:
        other = dance.load(path)
        other.pixels = other.pixels.flip(-1)
        other.save(path)
        return real(*args, **options)

    monkeypatch.setattr(scoring, "score_set", replace_meanwhile)
    before = dance.load(path).scores
    outcome = command("evaluate", path, "--networks=mlp", "--epochs=1", "--repeats=1")
    assert outcome.code == 2
    assert "it was replaced by another set" in outcome.err
    assert dance.load(path).scores == before
