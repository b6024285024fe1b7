"""What an expert says about a finished set: checked by a direct computation; it has no effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dance.condensed import load_set
from dance.condensed.insight import load_insight
from dance.core.errors import ArtifactError
from dance.data import load
from dance.engine import RunConfig, run
from dance.engine.context import prepare
from dance.evaluation import EvaluationConfig
from dance.experts import ExpertConfig
from dance.methods.dance import DANCEConfig
from dance.methods.dm import DMConfig
from dance.networks import NetworkConfig

CONFIG = RunConfig(
    data="digits",
    ipc=2,
    factor=2,
    device="cpu",
    network=NetworkConfig(width=8),
    experts=ExpertConfig(count=1, epochs=2),
    options=DANCEConfig(iterations=2, real_batch=8),
    evaluation=EvaluationConfig(epochs=1, repeats=1, baselines=()),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an expert; only to be read."""
    return run(CONFIG, tmp_path_factory.mktemp("insight") / "run")


def test_confidence_and_neighbours_are_those_of_the_expert(finished) -> None:
    condensed, train = load_set(finished), load("digits", "train")
    images, labels = condensed.images(), condensed.targets()
    found = load_insight(finished / "insight.safetensors", len(labels), 10)
    context = prepare(CONFIG)
    state = context.pool().ensure(1)[0].final
    chances = functional.softmax(context.network.logits(state, images), 1)
    torch.testing.assert_close(found.confidence, chances[torch.arange(len(labels)), labels])
    assert torch.equal(found.predicted, chances.argmax(1))
    assert found.real_images == found.train_images == len(train)
    real = context.network.embed(state, train.normalization.apply_bytes(train.images))
    mine = context.network.embed(state, images[found.shown])
    distances = torch.cdist(mine, real)
    nearest = distances.sort(1).values[:, : found.rows.shape[1]]
    torch.testing.assert_close(distances.gather(1, found.rows), nearest, rtol=1e-3, atol=1e-3)
    assert torch.equal(found.labels, train.labels[found.rows])
    assert torch.equal(found.pictures, train.images[found.rows])


def test_it_is_made_again_with_the_same_bytes_and_touches_nothing_else(finished) -> None:
    path = finished / "insight.safetensors"
    kept = {
        name: (finished / name).read_bytes() for name in ("condensed.safetensors", "scores.json")
    }
    before = path.read_bytes()
    path.unlink()
    run(CONFIG, finished)
    assert path.read_bytes() == before
    assert kept == {name: (finished / name).read_bytes() for name in kept}


def test_experts_that_are_gone_are_not_trained_again(finished, monkeypatch, tmp_path, capsys):
    path = finished / "insight.safetensors"
    before = path.read_bytes()
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setenv("DANCE_CACHE", str(tmp_path))
        run(CONFIG, finished)
    assert "no insight.safetensors: the experts of this run" in capsys.readouterr().err
    assert not path.exists()
    path.write_bytes(before)


def test_a_method_without_experts_has_none(tmp_path) -> None:
    options = DMConfig(iterations=1, real_batch=8)
    place = run(
        RunConfig(
            data="digits",
            method="dm",
            ipc=1,
            device="cpu",
            options=options,
            network=CONFIG.network,
            evaluation=CONFIG.evaluation,
        ),
        tmp_path / "run",
    )
    assert not (place / "insight.safetensors").exists()


def test_a_file_of_another_set_is_damaged(finished) -> None:
    with pytest.raises(ArtifactError, match="is damaged: delete it"):
        load_insight(finished / "insight.safetensors", 3, 10)
