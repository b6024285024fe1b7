"""A run whose numbers stop being finite goes back, tries other random numbers, and gives up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dance.condensed import load_set
from dance.core.errors import ConfigError
from dance.core.files import read_json
from dance.engine import RunConfig, run
from dance.evaluation import EvaluationConfig
from dance.methods import METHODS, Condensation, CondensationTask, Condenser
from dance.methods.base import PixelState, Tensors
from dance.networks import NetworkConfig
from dance.trackers import TRACKERS, Results, TrackedRun, Tracker

STEPS, BAD = 6, 3


@dataclass(frozen=True, kw_only=True)
class FragileConfig:
    """How it breaks.

    Attributes:
        learning_rate: of nothing.
        times: under how many seeds step 3 breaks.
        hidden: the stored images break, the loss does not.
    """

    learning_rate: float = 1.0
    times: int = 1
    hidden: bool = False


class FragileCondensation(Condensation[PixelState]):
    """Adds 1/64 to every pixel and breaks at step 3 under the first seeds."""

    def __init__(self, task: CondensationTask, config: FragileConfig) -> None:
        super().__init__(task, PixelState.with_zero_momentum(task.initial))
        self.config = config

    def step(self, iteration: int) -> Tensors:
        seed = self.task.seed
        if seed not in SEEN:
            SEEN.append(seed)
        self.state.pixels.add_(1 / 64)
        loss = torch.tensor(float(iteration))
        if iteration == BAD and SEEN.index(seed) < self.config.times:
            if self.config.hidden:
                self.state.pixels[0, 0, 0, 0] = float("nan")
            else:
                loss = torch.tensor(float("nan"))
        return {"loss": loss}


class Fragile(Condenser):
    title = "Fragile"
    paper = "none"
    Config = FragileConfig
    config: FragileConfig
    iterations = STEPS

    def start(self, task: CondensationTask) -> FragileCondensation:
        return FragileCondensation(task, self.config)


SEEN: list[int] = []


@pytest.fixture(autouse=True)
def fragile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    METHODS.get("dance")  # all are found
    monkeypatch.setitem(METHODS._members, "fragile", Fragile)
    monkeypatch.setenv("DANCE_SAVE_SECONDS", "0")
    SEEN.clear()
    yield


def config(**options: object) -> RunConfig:
    return RunConfig(
        data="digits",
        method="fragile",
        ipc=1,
        device="cpu",
        network=NetworkConfig(width=4),
        options=FragileConfig(**options),  # type: ignore[arg-type]
        evaluation=EvaluationConfig(epochs=1, repeats=1, baselines=()),
    )


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("times", [1, 3])
def test_it_goes_back_and_finishes(
    times: int, hidden: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = run(config(times=times, hidden=hidden), tmp_path / "run")
    made, begun = (load_set(place / f"{name}.safetensors") for name in ("condensed", "initial"))
    torch.testing.assert_close(made.pixels, begun.pixels + STEPS / 64)
    lines = (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(STEPS))
    assert len(SEEN) == times + 1
    assert read_json(place / "costs.json")["returns"] == times
    assert f"went back to a good state {times} times" in made.notes[-1]
    messages = capsys.readouterr().err
    assert messages.count("going back to the last good state") == times
    assert "--options.learning_rate" in messages


def test_a_tracker_gets_no_step_that_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    class Steps(Tracker):
        package = "json"

        def start(self, run: TrackedRun) -> str:
            return run.name

        def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
            sent.extend(step for step, _ in rows)

        def finish(self, results: Results | None) -> None: ...

    TRACKERS.names()  # all are found
    monkeypatch.setitem(TRACKERS._members, "steps", Steps)
    run(config(times=3), tmp_path / "run", track="steps")
    assert sent == list(range(STEPS))


@pytest.mark.parametrize("hidden", [False, True])
def test_it_gives_up(hidden: bool, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must stay finite.*lower --options\.learning_rate"):
        run(config(times=99, hidden=hidden), tmp_path / "run")
    assert len(SEEN) == 4
    assert not (tmp_path / "run" / "condensed.safetensors").exists()


def test_a_sound_run_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = run(config(times=0), tmp_path / "run")
    assert "returns" not in read_json(place / "costs.json")
    assert "going back" not in capsys.readouterr().err
    assert not any("went back" in note for note in load_set(place / "condensed.safetensors").notes)
