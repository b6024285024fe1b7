"""The three functions of the library, as its front page shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dance
import dance.api  # its imports draw from Python's generator: not inside a test
from dance.condensed import Score
from dance.core.errors import ConfigError, DanceError
from dance.data import load
from e2e.command import done

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


def test_a_set_is_scored_as_in_its_run_unless_told_otherwise(tmp_path: Path) -> None:
    """By the function as by the command; a protocol that is named brings its own numbers."""
    place = tmp_path / "run"
    made = dance.condense("digits", ipc=1, config="quick", seed=3, output=place, **SHORT)
    (stored,) = made.scores
    assert stored.protocol == "quick-v1, 1 epoch"
    (again,) = dance.evaluate(place)
    assert (again.asked, again.last) == (stored.asked, stored.last)
    (plain,) = done("evaluate", place, "--json").json["scores"]
    assert Score.from_plain(plain).last == stored.last
    (other,) = dance.evaluate(place, networks="mlp", precision="bfloat16", seed=4)
    assert other.network == "mlp" and other.asked is not None
    assert (other.asked.precision, other.asked.seed) == ("bfloat16", 4)
    (named,) = dance.evaluate(place, networks="mlp", protocol="quick-v1", epochs=2)
    assert (named.repeats, named.epochs) == (3, 2)


def test_all_networks_are_checked_before_one_is_trained(tmp_path: Path) -> None:
    place = tmp_path / "run"
    dance.condense("digits", ipc=1, config="quick", output=place, **SHORT)
    with pytest.raises(ConfigError, match="vgg11 needs images of at least 28 pixels"):
        dance.evaluate(place, networks=["mlp", "vgg11"])
    assert [score.network for score in dance.load(place).scores] == ["convnet"]


def test_scores_on_other_images_have_the_notes_of_these(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("mine", 10), ("other", 15)):
        for label in "ab":
            (tmp_path / name / label).mkdir(parents=True)
            for row in range(count):
                pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / label / f"{row}.png")
    place, mine, other = tmp_path / "run", tmp_path / "mine", str(tmp_path / "other")
    small = {**SHORT, "network": {"width": 8}}
    dance.condense(str(mine), ipc=1, config="quick", method="dm", output=place, **small)
    (score,) = dance.evaluate(place, data=other)
    assert [note for note in score.notes if "held out" in note] == [
        note for note in load(other, "test").notes if "held out" in note
    ]
    assert "6 of 30 images" in " ".join(score.notes)
    mine.rename(tmp_path / "moved")
    with pytest.raises(DanceError, match=r"there is no .*mine here; name its place with data="):
        dance.evaluate(place)
    assert dance.evaluate(place, data=str(tmp_path / "moved"))


def test_wrong_use_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting .*; did you mean 'iterations'"):
        dance.condense("digits", output=tmp_path / "run", options={"iteration": 3})
    with pytest.raises(ConfigError, match="unknown network 'resnet11'"):
        dance.evaluate(tmp_path / "none", networks=["resnet11"])
    assert not (tmp_path / "run").exists()


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'distill'"):
        _ = dance.distill
