"""``dance condense DATA --method X --config quick`` for every X, cut to a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dance.cli.main import main
from dance.condensed import load_set
from dance.methods import METHODS, Condenser

WORDS = (
    "--ipc=2",
    "--config=quick",
    "--device=cpu",
    "--network.width=16",
    "--experts.count=1",
    "--experts.epochs=1",
    "--trajectories.count=1",
    "--epochs=2",
    "--repeats=1",
    "--evaluation.baselines",
    "random",
    "whole",
)


@pytest.mark.parametrize("name", METHODS.names())
def test_it_condenses_scores_and_reports(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = METHODS.get(name)
    small = dict(kind.small_options) | ({"iterations": 2} if issubclass(kind, Condenser) else {})
    options = [f"--options.{key}={value}" for key, value in small.items()]
    if epochs := kind(kind.Config(**small)).trajectory_epochs():
        options.append(f"--trajectories.epochs={epochs}")
    place = tmp_path / "run"
    words = ["condense", "digits", "--method", name, *WORDS, *options, f"--output={place}"]
    assert main(words) == 0, capsys.readouterr().err
    made = load_set(place / "condensed.safetensors")
    assert made.provenance["config"]["method"] == name
    assert made.provenance["label"] == kind.title
    assert made.ipc == 2
    subjects = [score["subject"] for score in json.loads((place / "scores.json").read_text())]
    assert subjects[0] == "condensed"
    assert "whole" in subjects
    assert ("random" in subjects) == (name != "random")
    assert kind.title in (place / "report.html").read_text(encoding="utf-8")
    if issubclass(kind, Condenser):
        start = load_set(place / "initial.safetensors")
        assert (made.stored_images()[0] - start.stored_images()[0]).abs().max() > 1e-7
