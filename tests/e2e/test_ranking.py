"""``dance evaluate --ranking``: DD-Ranking's scores of a run, from networks that it names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dance.data import load
from dance.evaluation.ranking import augmentation_robust_score, label_robust_score
from e2e.command import TINY, command, done

SCORES = ("--repeats=3", "--epochs=3", "--device=cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranked") / "run"
    done("condense", "digits", *TINY, *SCORES, "--evaluation.baselines=random", "--output", place)
    return place


def test_the_scores_are_those_of_its_networks(run: Path) -> None:
    before = (run / "scores.json").read_bytes()
    outcome = done("evaluate", run, "--ranking", "--json")
    assert "ranking: networks for the set without augmentation, random images" in outcome.err
    assert "are trained: about" in outcome.err
    found = outcome.json
    values = {name: score["last"]["values"] for name, score in found["scores"].items()}
    assert values["own"] == values["hard"]
    held = {row["subject"]: row["last"]["values"] for row in json.loads(before)}
    assert (values["hard"], values["random"]) == (held["condensed"], held["random"])
    assert found["scores"]["own_plain"]["protocol"] == "quick-v1, 3 epochs, no augmentation"
    whole = found["scores"]["whole"]["last"]["mean"]
    rounds = range(3)
    assert found["label_robust_score"]["values"] == pytest.approx(
        [
            label_robust_score(whole, *(values[n][i] for n in ("hard", "own", "random")))
            for i in rounds
        ]
    )
    names = ("own", "random", "own_plain", "random_plain")
    assert found["augmentation_robust_score"]["values"] == pytest.approx(
        [augmentation_robust_score(*(values[name][i] for name in names)) for i in rounds]
    )
    assert json.loads((run / "ranking.json").read_text()) == found
    assert (run / "scores.json").read_bytes() == before
    assert not (run / "checkpoints").exists() or not any((run / "checkpoints").iterdir())


def test_the_precision_is_the_one_that_is_asked_for(run: Path) -> None:
    found = done("evaluate", run, "--ranking", "--precision=bfloat16", "--json").json["scores"]
    trained = {name: row["asked"]["precision"] for name, row in found.items() if name != "whole"}
    assert set(trained.values()) == {"bfloat16"}


def test_soft_labels_are_given_to_random_images_too(run: Path) -> None:
    words = (
        "--labels=soft",
        "--teacher.count=1",
        "--teacher.lengths=1",
        "--teacher.temperatures=1",
    )
    outcome = done("evaluate", run / "condensed.safetensors", "--ranking", *words)
    assert "ranking: soft labels are made: about" in outcome.err
    assert "random images without augmentation   soft" in outcome.out
    assert "label-robust score" in outcome.out and "not comparable" in outcome.out


def test_what_cannot_be_ranked_is_said(run: Path) -> None:
    outcome = command("evaluate", run, "--ranking", "--networks=resnet10")
    assert outcome.code == 2 and "leave out --networks" in outcome.err
    outcome = command("evaluate", run, "--ranking", "--source.test_fraction=0.5")
    assert outcome.code == 2 and "made of other images" in outcome.err
    outcome = command("evaluate", run, "--ranking", "--protocol=dc-v1")
    assert outcome.code == 2 and "dc-v1 has none; name another" in outcome.err


def test_images_from_another_place_are_ranked_as_those_of_the_set(run: Path) -> None:
    """Digits are not mirrored, and the scores are those of the set by its own name."""
    own = done("evaluate", run, "--ranking", "--json").json
    train, test = load("digits", "train"), load("digits", "test")
    arrays = {"classes": np.array(train.classes)}
    for name, images in (("train", train), ("test", test)):
        arrays |= {f"{name}_images": images.images[:, 0].numpy()}
        arrays |= {f"{name}_labels": images.labels.numpy()}
    np.savez(run.parent / "scans.npz", **arrays)
    (run / "ranking.json").unlink()
    moved = done("evaluate", run, "--ranking", "--json", "--data", run.parent / "scans.npz").json
    assert {name: score["last"] for name, score in moved["scores"].items()} == {
        name: score["last"] for name, score in own["scores"].items()
    }


def test_experts_of_whitened_images_are_tested_on_such(tmp_path: Path) -> None:
    words = ("--method=dm", "--whitening=zca", "--experts.epochs=15")
    done("condense", "digits", *TINY, *SCORES, *words, "--output", tmp_path / "run")
    scores = done("evaluate", tmp_path / "run", "--ranking", "--json").json["scores"]
    assert scores["whole"]["last"]["mean"] > 0.8
