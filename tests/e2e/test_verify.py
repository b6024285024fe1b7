"""``dance verify``: an honest score holds, and one of other pixels or other training fails."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dance
from dance.condensed import Score
from dance.condensed.score import write_scores
from dance.condensed.statistics import summary, welch
from dance.core.rng import keyed_generator
from dance.engine.rundir import RunDirectory
from dance.engine.verify import LEVEL, Verification
from e2e.command import TINY, command, done, inverted_digits


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("verified") / "run"
    done(
        "condense", "digits", *TINY, "--repeats=4", "--epochs=20", "--device=cpu", "--output", place
    )
    return place


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def test_an_honest_score_holds_and_nothing_is_stored(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    outcome = done("verify", copy, "--json", "--device=cpu")
    (row,) = outcome.json["verified"]
    assert row["holds"] is True
    assert row["stored"]["seeds"] != row["again"]["seeds"]
    assert row["difference"]["low"] < 0 < row["difference"]["high"]
    assert {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()} == before
    assert "holds" in done("verify", copy / "condensed.safetensors", "--repeats=3").out


def test_a_score_is_verified_in_its_own_precision(copy: Path) -> None:
    """Scores of both precisions stand side by side, whatever the run was made with."""
    words = ("--networks=mlp", "--repeats=3", "--epochs=60", "--device=cpu")
    for precision in ("float32", "bfloat16"):
        done("evaluate", copy, *words, f"--precision={precision}")
    rows = done("verify", copy, "--networks=mlp", "--device=cpu", "--json").json["verified"]
    for side in ("stored", "again"):
        assert [row[side]["asked"]["precision"] for row in rows] == ["float32", "bfloat16"]
    assert rows[0]["again"]["last"] != rows[1]["again"]["last"]


def test_scores_on_other_images_are_left_out_unless_these_are_named(copy, tmp_path) -> None:
    other = inverted_digits(tmp_path / "other.npz")
    done("evaluate", copy, "--data", other, "--device=cpu")
    outcome = done("verify", copy, "--json", "--device=cpu")
    assert len(outcome.json["verified"]) == 1
    assert "left out: the score of convnet" in outcome.err
    (row,) = done("verify", copy, "--data", other, "--json", "--device=cpu").json["verified"]
    assert row["stored"]["dataset"] == row["again"]["dataset"] == "other"
    assert "tested on other" in done("show", copy).out
    done("evaluate", copy, "--data", other, "--networks=mlp", "--repeats=3", "--device=cpu")
    refused = command("verify", copy, "--networks=mlp", "--device=cpu")
    assert refused.code == 2
    assert "there must be a score on digits: got the score of mlp" in refused.err


@pytest.mark.parametrize("networks", [3, 5])
def test_95_of_100_honest_re_runs_hold(copy: Path, networks: int) -> None:
    """Simulated from 40 stored accuracies: two halves of a draw without replacement."""
    words = ("--repeats=40", "--epochs=10", "--device=cpu", "--json")
    (score,) = done("evaluate", copy, *words).json["scores"]
    stored = Score.from_plain(score)
    held = 0
    for number in range(1000):
        order = torch.randperm(40, generator=keyed_generator(0, "test", number)).tolist()
        values = [stored.last.values[place] for place in order[: 2 * networks]]
        gap = welch(values[:networks], values[networks:], LEVEL)
        held += Verification(stored, stored, gap).holds
    assert held >= 950


def test_exchanged_pixels_fail(copy: Path) -> None:
    path = copy / "condensed.safetensors"
    exchanged = dance.load(path)
    exchanged.pixels = exchanged.pixels.flip(0)
    exchanged.save(path)  # the scores stay in its header
    for target in (copy, path):
        outcome = command("verify", target)
        assert outcome.code == 1
        assert "FAILS" in outcome.out and "another set was scored" in outcome.out


def test_an_accuracy_that_was_never_reached_fails(copy: Path) -> None:
    rows = RunDirectory(copy).scores_so_far()
    (row,) = [row for row in rows if row.subject == "condensed"]
    forged = summary([min(1.0, value + 0.4) for value in row.last.values])
    rows[rows.index(row)] = replace(row, last=forged)
    write_scores(copy / "scores.json", rows)  # with right checksums
    outcome = command("verify", copy, "--device=cpu")
    assert outcome.code == 1 and "FAILS" in outcome.out


def test_scores_of_the_set_before_it_was_made_again_are_left_out(copy: Path) -> None:
    rows = RunDirectory(copy).scores_so_far()
    (row,) = [row for row in rows if row.subject == "condensed"]
    assert row.asked is not None
    stale = replace(row, asked=replace(row.asked, seed=1), set_digest="0" * 64)
    write_scores(copy / "scores.json", [*rows, stale])
    outcome = done("verify", copy, "--device=cpu", "--json")
    assert len(outcome.json["verified"]) == 1
    assert "left out: the score of convnet" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repeats=2"], "--repeats must be at least 3: got 2"),
        (["--networks", "mlp"], "there is no score on mlp"),
    ],
)
def test_what_cannot_be_verified_is_said(copy: Path, words: list[str], message: str) -> None:
    outcome = command("verify", copy, *words)
    assert outcome.code == 2
    assert "cannot verify" in outcome.err and message in outcome.err


def test_a_score_of_one_network_cannot_be_verified(copy: Path) -> None:
    done("evaluate", copy, "--networks=mlp", "--repeats=1", "--epochs=1")
    outcome = command("verify", copy, "--networks=mlp", "--repeats=5")
    assert outcome.code == 2 and "its score has 1" in outcome.err
    advised = outcome.err.partition("score the set with dance ")[2].removesuffix(" or more\n")
    verb, *words = advised.split()
    done(verb, copy, "--networks=mlp", "--epochs=2", *words)
    outcome = command("verify", copy, "--networks=mlp", "--json", "--device=cpu")
    assert outcome.code == 0 and "cannot verify mlp" in outcome.err
    (row,) = outcome.json["verified"]
    assert row["stored"]["epochs"] == 2
