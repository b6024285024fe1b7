"""``dance condense DATA --method X --config quick`` for every X, cut to a few steps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dance.cli.main import main
from dance.condensed import load_set
from dance.methods import METHODS, Condenser

SHORT = {
    "iterations": 2,
    "inner_cap": 1,
    "outer_cap": 1,
    "real_batch": 8,
    "queue": 2,
    "bank_draws": 2,
    "network_images": 64,
    "frequencies": 16,
    "student_steps": 2,
    "expert_epochs": 1,
    "start_epochs": 1,
}
"""Settings of this name, where a method has them, so that a test can wait for it."""
WORDS = (
    "--ipc=2",
    "--config=quick",
    "--device=cpu",
    "--network.width=16",
    "--experts.count=1",
    "--experts.epochs=1",
    "--trajectories.count=1",
    "--trajectories.epochs=2",
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
    there = {field.name for field in dataclasses.fields(kind.Config)}
    options = [f"--options.{key}={value}" for key, value in SHORT.items() if key in there]
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
