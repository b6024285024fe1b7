"""A whole run of a method that imitates trajectories: what it stores, costs and goes on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dance.condensed import load_set
from dance.core.storage import read_json
from dance.engine import RunConfig, estimate, run
from dance.evaluation import EvaluationConfig
from dance.experts import TrajectoryConfig
from dance.methods.mtt import Mtt, MttConfig
from dance.networks import NetworkConfig
from distributed.processes import finish, start

CONFIG = RunConfig(
    data="digits",
    method="mtt",
    ipc=1,
    init="random",
    device="cpu",
    network=NetworkConfig(width=8),
    trajectories=TrajectoryConfig(count=2, epochs=3),
    options=MttConfig(iterations=4, student_steps=3, start_epochs=2, learning_rate=30.0),
    evaluation=EvaluationConfig(protocol="mtt-v1", epochs=2, repeats=1, baselines=()),
)
COMMAND = """condense digits --method mtt --ipc 1 --network.width=8 --trajectories.count=2
    --trajectories.epochs=3 --options.iterations=4 --options.student-steps=3 --networks convnet
    --options.start-epochs=2 --evaluation.epochs=2 --evaluation.repeats=1"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, tmp_path_factory.mktemp("mtt") / "run")


def test_the_set_brings_the_learned_rate_and_says_what_it_took(finished: Path) -> None:
    condensed = load_set(finished / "condensed.safetensors")
    assert condensed.space == "standardised"
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
    step = Mtt.step

    def stopping(self: Mtt, problem: object, state: object, iteration: int) -> object:
        if iteration == 2:
            raise KeyboardInterrupt
        return step(self, problem, state, iteration)  # type: ignore[arg-type]

    monkeypatch.setattr(Mtt, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, tmp_path / "run")
    monkeypatch.setattr(Mtt, "step", step)
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
    one, two = (load_set(place / "condensed.safetensors") for place in places)
    assert torch.equal(one.pixels, two.pixels)
