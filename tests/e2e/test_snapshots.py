"""Snapshots of a run: what they hold, and that they change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dance import load
from dance.core.files import read_json
from e2e.command import TINY, command, done

WORDS = ("condense", "digits", *TINY, "--device=cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps without snapshots."""
    place = tmp_path_factory.mktemp("plain") / "run"
    done(*WORDS, "--output", place)
    return place


@pytest.fixture(scope="module")
def snapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a snapshot after every step."""
    place = tmp_path_factory.mktemp("snapped") / "run"
    done(*WORDS, "--output", place, "--snapshots", "2", "every:1")
    return place


def test_snapshots_change_neither_the_result_nor_the_settings(plain, snapped) -> None:
    for name in ("condensed.safetensors", "initial.safetensors", "config.yaml"):
        assert (snapped / name).read_bytes() == (plain / name).read_bytes(), name


def test_a_snapshot_is_what_a_run_of_so_many_steps_gives(snapped, tmp_path) -> None:
    names = [path.name for path in sorted((snapped / "snapshots").iterdir())]
    assert names == ["000001.safetensors", "000002.safetensors", "000003.safetensors"]
    done(*WORDS, "--output", tmp_path / "run", "--options.iterations=2", "--repeats=1")
    shorter = load(tmp_path / "run" / "condensed.safetensors")
    assert torch.equal(load(snapped / "snapshots" / names[1]).pixels, shorter.pixels)
    finished = load(snapped / "condensed.safetensors")
    assert torch.equal(load(snapped / "snapshots" / names[2]).pixels, finished.pixels)
    assert not torch.equal(shorter.pixels, finished.pixels)


def test_the_mean_of_the_last_steps_is_an_option(snapped, tmp_path) -> None:
    """Snapshots are stored with 256 levels each, and so is the mean."""
    done(*WORDS, "--output", tmp_path / "run", "--average-last", "0.67", "--repeats=1")
    last = [load(path).pixels for path in sorted((snapped / "snapshots").iterdir())[1:]]
    found = load(tmp_path / "run" / "condensed.safetensors").pixels
    torch.testing.assert_close(found, torch.stack(last).mean(0), rtol=0, atol=0.01)
    assert not torch.allclose(found, last[-1], rtol=0, atol=1e-4)


def test_a_snapshot_is_scored_like_any_set(snapped) -> None:
    path = snapped / "snapshots" / "000002.safetensors"
    before = read_json(snapped / "scores.json")
    outcome = done("evaluate", path, "--protocol=quick-v1", "--epochs=1", "--repeats=1", "--json")
    assert len(outcome.json["scores"]) == 1
    assert load(path).scores[0].to_plain()["last"] == outcome.json["scores"][0]["last"]
    assert read_json(snapped / "scores.json") == before


def test_what_comes_too_late_is_named(plain) -> None:
    outcome = done(*WORDS, "--output", plain, "--snapshots", "1", "3")
    assert "no snapshot after step 1, 3" in outcome.err
    assert not (plain / "snapshots").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--snapshots", "4"), "from 1 to the number of iterations, 3: got '4'"),
        (("--method=k_center", "--snapshots", "1"), "K-center"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, words, message) -> None:
    given = [word for word in WORDS if not (len(words) > 2 and "iterations" in word)]
    outcome = command(*given, *words, "--output", tmp_path / "run")
    assert outcome.code == 2
    assert message.lower() in outcome.err.lower()
    assert not (tmp_path / "run").exists()
