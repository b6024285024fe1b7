"""The three functions of the library, as its front page shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dance
import dance.api  # its imports draw from Python's generator: not inside a test
from dance.core.errors import ConfigError

SHORT = {
    "experts": {"count": 1, "epochs": 1},
    "options": {"iterations": 2, "real_batch": 8},
    "evaluation": {"repeats": 1, "epochs": 1, "baselines": []},
}


def test_condense_load_evaluate(tmp_path: Path) -> None:
    place = tmp_path / "run"
    made = dance.condense("digits", ipc=2, config="quick", output=place, **SHORT)
    assert (made.ipc, made.classes[:3], len(made.scores)) == (2, ("0", "1", "2"), 1)
    read = dance.load(place / "condensed.safetensors")
    assert torch.equal(read.pixels, made.pixels)
    assert read.scores == made.scores

    scores = dance.evaluate(place, networks=["convnet", "resnet10"], epochs=1, repeats=2)
    assert [score.network for score in scores] == ["convnet", "resnet10"]
    assert all(len(score.last.values) == 2 for score in scores)
    kept = dance.load(place / "condensed.safetensors").scores
    assert [score.repeats for score in kept] == [1, 2, 2]

    again = dance.evaluate(place, networks=["convnet"], epochs=1, repeats=2)
    assert again[0].last == scores[0].last
    assert len(dance.load(place / "condensed.safetensors").scores) == 3


def test_wrong_use_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting .*; did you mean 'iterations'"):
        dance.condense("digits", output=tmp_path / "run", options={"iteration": 3})
    with pytest.raises(ConfigError, match="unknown network 'resnet11'"):
        dance.evaluate(tmp_path / "none", networks=["resnet11"])
    assert not (tmp_path / "run").exists()


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'distill'"):
        _ = dance.distill
