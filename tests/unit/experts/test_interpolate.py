"""Mid models lie on the line between an expert's first and last weights."""

from __future__ import annotations

import pytest
import torch

from dance.experts import interpolate
from dance.training import Trainer, TrainerConfig
from unit.training.blobs import blobs, start, tiny, training


@pytest.fixture(scope="module")
def ends():
    """Weights and batch-norm buffers before and after an epoch."""
    network = tiny("batch")
    initial = start(network)
    trainer = Trainer(network, [initial], training(blobs()), TrainerConfig(epochs=1), [0])
    trainer.train_epoch()
    return initial, trainer.state(0)


def test_endpoints(ends) -> None:
    initial, final = ends
    floating = [name for name in final if final[name].is_floating_point()]
    assert "blocks.0.1.running_mean" in floating
    for lam, expected in ((0.0, final), (1.0, initial)):
        mid = interpolate(initial, final, lam)
        assert list(mid) == list(final)
        assert all(torch.equal(mid[name], expected[name]) for name in floating)


@pytest.mark.parametrize("lam", [0.1, 0.5, 0.8])
def test_every_tensor_is_on_the_line(ends, lam) -> None:
    initial, final = ends
    mid = interpolate(initial, final, lam)
    for name, tensor in mid.items():
        if tensor.is_floating_point():
            expected = lam * initial[name].double() + (1 - lam) * final[name].double()
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-7)
            assert not torch.equal(initial[name], final[name])
        else:
            assert torch.equal(tensor, final[name]), "a count is not interpolated"


def test_the_ends_are_not_changed(ends) -> None:
    held = [{name: tensor.clone() for name, tensor in end.items()} for end in ends]
    mid = interpolate(*ends, 0.5)
    for name in mid:
        if mid[name].is_floating_point():
            mid[name].fill_(7)
    for end, before in zip(ends, held, strict=True):
        assert all(torch.equal(end[name], before[name]) for name in end)
