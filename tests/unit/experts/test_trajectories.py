"""Trajectories on disk: every epoch of a training, read singly, resumed, refused when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dance.core.errors import ArtifactError
from dance.core.rng import key, keyed_generator
from dance.experts import (
    ExpertConfig,
    ExpertPool,
    NetworkTraining,
    TrajectoryConfig,
    TrajectoryPool,
)
from dance.experts.trajectories import untrained
from dance.networks import NetworkConfig, build
from dance.networks.state_vector import parameter_layout
from dance.training import Trainer
from unit.training.blobs import blobs, training

RECIPE = TrajectoryConfig(epochs=3, batch_size=8, count=2)
SHAPE = NetworkConfig(width=4, depth=1)
NETWORK = build(SHAPE, 3, 8, 3)


def pool(directory: Path, config: TrajectoryConfig = RECIPE) -> TrajectoryPool:
    training = NetworkTraining(blobs(20), NETWORK, SHAPE, config, 0)
    return TrajectoryPool(training, directory=directory)


def everything(held: object) -> torch.Tensor:
    return torch.stack(
        [
            torch.stack([held.weights(number, epoch) for epoch in range(held.epochs + 1)])  # type: ignore[attr-defined]
            for number in range(len(held))  # type: ignore[arg-type]
        ]
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return everything(pool(tmp_path_factory.mktemp("undisturbed")).ensure(2))


def test_a_snapshot_is_a_fit_after_so_many_epochs(undisturbed: torch.Tensor) -> None:
    layout = parameter_layout(NETWORK)
    for number in range(2):
        seed = key(0, "expert", number)
        trainer = Trainer(
            NETWORK,
            [NETWORK.initial(keyed_generator(seed, "weights"))],
            training(blobs(20)),
            RECIPE,
            [seed],
        )
        for epoch in range(RECIPE.epochs + 1):
            assert torch.equal(undisturbed[number, epoch], layout.flatten(trainer.state(0)))
            trainer.train_epoch()


def test_the_training_is_plain_gradient_descent_at_one_rate() -> None:
    assert {RECIPE.rate(epoch) for epoch in range(50)} == {0.01}
    assert (RECIPE.momentum, RECIPE.weight_decay, RECIPE.cutmix) == (0, 0, 0)
    assert RECIPE.augmentation_mode == "single"


def test_untrained_ones_have_the_sizes_of_trained_ones() -> None:
    network = build(replace(SHAPE, norm="batch"), 3, 8, 3)
    assert untrained(network, 4).snapshots.shape == (1, 5, network.parameter_count())


def test_those_that_are_there_are_not_trained_again(tmp_path: Path, undisturbed) -> None:
    first = pool(tmp_path).ensure(1)
    written = pool(tmp_path).store.path(0).stat().st_mtime_ns
    assert pool(tmp_path).store.missing(2) == 1
    both = pool(tmp_path).ensure(2)
    assert pool(tmp_path).store.path(0).stat().st_mtime_ns == written
    assert (len(first), len(both), both.epochs) == (1, 2, 3)
    assert torch.equal(everything(both), undisturbed)
    assert pool(tmp_path).store.missing(2) == 0
    longer = pool(tmp_path, replace(RECIPE, epochs=4))
    assert longer.store.directory != pool(tmp_path).store.directory
    same_training = NetworkTraining(blobs(20), NETWORK, SHAPE, ExpertConfig(**vars(RECIPE)), 0)
    experts = ExpertPool(same_training, directory=tmp_path)
    assert experts.store.directory != pool(tmp_path).store.directory


@pytest.mark.parametrize("stopped", [1, 3, 4, 8])
def test_training_goes_on_where_it_was_stopped(
    tmp_path: Path, undisturbed: torch.Tensor, monkeypatch: pytest.MonkeyPatch, stopped: int
) -> None:
    monkeypatch.setenv("DANCE_SAVE_SECONDS", "0")
    step, steps = Trainer.step, []

    def stopping(self: Trainer, rows: torch.Tensor, number: int) -> object:
        steps.append(number)
        if len(steps) == stopped + 1:
            raise KeyboardInterrupt
        return step(self, rows, number)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        pool(tmp_path).ensure(1)
    monkeypatch.setattr(Trainer, "step", step)
    assert torch.equal(everything(pool(tmp_path).ensure(1)), undisturbed[:1])
    names = [path.name for path in pool(tmp_path).store.directory.iterdir()]
    assert names == ["trajectory-000.safetensors"]


def test_a_file_cut_short_is_trained_again(tmp_path: Path, undisturbed: torch.Tensor) -> None:
    pool(tmp_path).ensure(1)
    path = pool(tmp_path).store.path(0)
    path.write_bytes(path.read_bytes()[:-10])
    assert pool(tmp_path).store.missing(1) == 1
    assert torch.equal(everything(pool(tmp_path).ensure(1)), undisturbed[:1])


def test_an_altered_snapshot_is_refused_when_it_is_read(tmp_path: Path) -> None:
    held = pool(tmp_path).ensure(1)
    path = pool(tmp_path).store.path(0)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    held.weights(0, 0)
    with pytest.raises(ArtifactError, match="delete it and run again"):
        held.weights(0, 3)
    path.unlink()
    with pytest.raises(ArtifactError, match="no trajectory"):
        held.weights(0, 0)
