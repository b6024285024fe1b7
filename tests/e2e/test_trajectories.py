"""A whole run of a method that imitates trajectories: its files, its costs and its resumption."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dance.condensed import load_set
from dance.core.errors import ConfigError
from dance.core.files import read_json
from dance.data import load
from dance.data.whitening import fit
from dance.engine import RunConfig, estimate, run
from dance.engine.context import prepare
from dance.engine.rules import check
from dance.evaluation import EvaluationConfig, score_set
from dance.experts import TrajectoryConfig
from dance.methods.mtt import MTTCondensation, MTTConfig
from dance.methods.random import Random
from dance.networks import NetworkConfig, build
from dance.training import TrainingData
from distributed.processes import finish, start

evaluator_module = importlib.import_module("dance.evaluation.evaluator")
CONFIG = RunConfig(
    data="digits",
    method="mtt",
    ipc=1,
    init="random",
    device="cpu",
    network=NetworkConfig(width=8),
    trajectories=TrajectoryConfig(count=2, epochs=3),
    options=MTTConfig(iterations=4, student_steps=3, start_epochs=2, learning_rate=30.0),
    evaluation=EvaluationConfig(protocol="mtt-v1", epochs=2, repeats=1, baselines=()),
)
COMMAND = """condense digits --method mtt --ipc 1 --network.width=8 --trajectories.count=2
    --trajectories.epochs=3 --options.iterations=4 --options.student_steps=3
    --options.start_epochs=2 --evaluation.epochs=2 --evaluation.repeats=1"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, tmp_path_factory.mktemp("mtt") / "run")


def test_the_set_brings_the_learned_rate_and_says_what_it_took(finished: Path) -> None:
    condensed = load_set(finished / "condensed.safetensors")
    assert condensed.space == "normalized"
    assert condensed.learning_rate is not None
    assert condensed.learning_rate > 0
    assert condensed.learning_rate != 0.01
    before = load_set(finished / "initial.safetensors").images()
    assert (condensed.images() - before).abs().max() > 0.01
    lines = (finished / "metrics.jsonl").read_text(encoding="utf-8")
    assert lines.count('"learning_rate"') == 4
    assert read_json(finished / "costs.json")["trajectories_seconds"] > 0
    assert read_json(finished / "scores.json")


def test_stopped_it_goes_on_to_the_same_set(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_SAVE_SECONDS", "0")
    step = MTTCondensation.step

    def stopping(self: MTTCondensation, iteration: int) -> object:
        if iteration == 2:
            raise KeyboardInterrupt
        return step(self, iteration)

    monkeypatch.setattr(MTTCondensation, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, tmp_path / "run")
    monkeypatch.setattr(MTTCondensation, "step", step)
    run(CONFIG, tmp_path / "run", resume=True)
    one, two = (place / "condensed.safetensors" for place in (finished, tmp_path / "run"))
    assert load_set(one).learning_rate == load_set(two).learning_rate
    assert torch.equal(load_set(one).pixels, load_set(two).pixels)


def test_an_estimate_counts_the_trajectories_that_are_missing(finished: Path) -> None:
    more = replace(CONFIG, trajectories=TrajectoryConfig(count=5, epochs=3))
    phases = {phase["name"]: phase for phase in estimate(more)["phases"]}
    assert phases["trajectories"]["steps"] == 3 * 3 * 6  # 1,438 images in batches of 256
    assert phases["condensing with MTT"]["seconds"] > 0


@pytest.mark.slow
def test_several_processes_train_them_together_and_one_condenses(
    finished: Path, tmp_path: Path
) -> None:
    places = []
    for size in (1, 2):
        places.append(tmp_path / f"run{size}")
        words = [*COMMAND.split(), "--output", str(places[-1])]
        ended = finish(start(size, "-m", "dance", *words, DANCE_CACHE=str(tmp_path / f"{size}")))
        assert all(code == 0 for code, _, _ in ended), ended
        said = "MTT is condensed by one of the 2 processes, and the others wait" in ended[0][2]
        assert said is (size == 2)
    one, two = (load_set(place / "condensed.safetensors") for place in places)
    assert torch.equal(one.pixels, two.pixels)


@pytest.fixture(scope="module")
def whitened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(replace(CONFIG, whitening="zca"), tmp_path_factory.mktemp("white") / "run")


def test_whitened_data_are_whitened_everywhere(whitened: Path, finished: Path) -> None:
    """The start, the result, the trajectories, and the unseen images that the score is of."""
    train = load("digits", "train")
    white = fit(train.images)
    first, done = (load_set(whitened / f"{name}.safetensors") for name in ("initial", "condensed"))
    assert (first.space, done.space) == ("unit", "normalized")
    for found in (first, done):
        assert found.normalization.whitening is not None
        torch.testing.assert_close(found.normalization.whitening.pack(), white.pack())
    plain = load_set(finished / "initial.safetensors")
    assert torch.equal(first.to_uint8(), plain.to_uint8())
    torch.testing.assert_close(first.images(), white.apply(plain.pixels), rtol=0, atol=1e-4)
    assert 0.01 < (done.images() - first.images()).abs().max() < 100

    kinds = [replace(CONFIG, whitening=kind) for kind in ("none", "zca", "zca_standardised")]
    pools = [prepare(config).trajectory_pool().store.directory for config in kinds]
    assert len(set(pools)) == 3
    data = TrainingData(train.images, train.labels, done.normalization)
    assert torch.equal(data.batch(slice(5)), white.apply(train.images[:5].float() / 255))


def test_a_whitened_set_is_scored_on_whitened_images(whitened: Path) -> None:
    condensed = load_set(whitened / "condensed.safetensors")
    test = load("digits", "test")
    batches: list[torch.Tensor] = []
    seen = evaluator_module.predict

    def watching(network: object, state: object, data: TrainingData, **rest: object) -> object:
        batches.append(data.batch(slice(3)))
        return seen(network, state, data, **rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator_module, "predict", watching)
        network = build(NetworkConfig(width=8), 1, 8, 10)
        score_set(
            condensed, test, network, "convnet", CONFIG.evaluation, subject="x", label="x", seed=0
        )
    assert condensed.normalization.whitening is not None
    expected = condensed.normalization.apply_bytes(test.images[:3])
    assert all(torch.equal(images, expected) for images in batches)
    assert batches


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"method": "random", "options": Random.Config()},
            "method must be one of datadam, dm, mtt",
        ),
        ({"factor": 2}, "factor must be 1"),
        ({"labels": "soft"}, "labels must be hard"),
        ({"evaluation": EvaluationConfig(baselines=("whole",))}, "must not name whole"),
    ],
)
def test_what_does_not_work_with_whitened_images_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"{words}.*use --whitening none"):
        check(replace(CONFIG, whitening="zca", **changes))
