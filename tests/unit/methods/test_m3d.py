"""M3D against its equations written as loops over classes and pairs in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from dance.data import load
from dance.methods import CondensationTask
from dance.methods.m3d import M3D, M3DConfig
from dance.networks import NetworkConfig
from dance.objectives.kernel import Kernel
from unit.methods.literal_matching import LiteralSides, descended, fresh, layers
from unit.methods.tasks import image_set, task


def discrepancy(real: torch.Tensor, synthetic: torch.Tensor, kernel: str) -> torch.Tensor:
    """From the distance of every pair of rows."""
    rows = torch.cat([real, synthetic])
    n, r = len(rows), len(real)
    difference = rows[:, None] - rows[None]
    squares = (difference**2).sum(-1)
    if kernel == "gaussian":
        bandwidth = float(squares.detach().sum()) / (n * n - n)
        values = sum(torch.exp(-squares / (bandwidth * 2.0**power)) for power in range(-2, 3))
    elif kernel == "laplace":
        values = sum(torch.exp(-rate * squares) for rate in (0.1, 1.0, 5.0))
    else:
        values = (rows[:, None] * rows[None]).sum(-1)
        values = values if kernel == "linear" else (values + 1) ** 2
    assert isinstance(values, torch.Tensor)
    return values[:r, :r].mean() - 2 * values[:r, r:].mean() + values[r:, r:].mean()


def literal(
    given: CondensationTask, options: M3DConfig, iterations: int, norm: str = "instance"
) -> tuple[torch.Tensor, list[float]]:
    """Stored images and mean losses of the algorithm as it is written.

    Batch norm normalises each side as a whole, and then only steps of all classes are written here.
    """
    classes = given.train.num_classes
    batches = LiteralSides(given, options.real_batch, options.augmentation, chained=True, unit=True)
    rate = options.learning_rate * given.ipc
    pixels, optimiser = descended(given, rate, options.momentum)
    logged = []
    for iteration in range(iterations):
        state = fresh(given, iteration // options.network_interval)
        batches.draw(iteration)
        with torch.no_grad():
            pixels.clamp_(0, 1)
        losses, sides = [], list[list[torch.Tensor]]()
        if norm == "batch":
            pairs = [batches.of(pixels, label) for label in range(classes)]
            for side in zip(*pairs, strict=True):
                every = layers(state, torch.cat(side), norm)[1]
                sides.append(list(every.split([len(images) for images in side])))
        for label in range(classes):
            if sides:
                real, synthetic = (side[label] for side in sides)
            else:
                real, synthetic = (layers(state, x, norm)[1] for x in batches.of(pixels, label))
            losses.append(discrepancy(real.detach(), synthetic, options.kernel))
            if options.steps == "per_class":
                optimiser.zero_grad()
                losses[-1].backward()
                optimiser.step()
        if options.steps == "joint":
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
        logged.append(float(torch.stack(losses).detach().mean()))
    return pixels.detach(), logged


def run(
    given: CondensationTask, iterations: int, **options: Any
) -> tuple[torch.Tensor, list[float]]:
    method = M3D(M3DConfig(**options))
    made = method.start(given)
    losses = [float(made.step(i)["discrepancy"]) for i in range(iterations)]
    return made.state.pixels, losses


def check(
    given: CondensationTask, iterations: int = 4, norm: str = "instance", **options: Any
) -> None:
    expected, wanted = literal(given, M3DConfig(**options), iterations, norm)
    assert bool(((expected - given.initial).flatten(1).abs().amax(1) > 1e-3).all())
    pixels, losses = run(given, iterations, **options)
    torch.testing.assert_close(pixels, expected, rtol=1e-9, atol=1e-10)
    assert losses == pytest.approx(wanted, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("ipc", [1, 2])
def test_dynamics(ipc: int, factor: int) -> None:
    """Classes of 7, 12 and 4 images in batches of 5: one is smaller than a batch."""
    check(task(ipc, factor), real_batch=5, learning_rate=1.0)


@pytest.mark.parametrize("kernel", get_args(Kernel))
def test_kernels(kernel: str) -> None:
    rate = 1e-4 if kernel == "polynomial" else 0.1
    check(task(2, 1), iterations=2, kernel=kernel, real_batch=3, learning_rate=rate)


@pytest.mark.parametrize(
    "options",
    [{"network_interval": 3}, {"steps": "joint"}, {"momentum": 0.0}, {"real_batch": 0}],
    ids=str,
)
def test_options(options: dict[str, Any]) -> None:
    check(task(2, 2), **options)


def test_batch_norm_normalises_each_side_as_a_whole_and_couples_the_classes() -> None:
    given = task(2, 2, network=NetworkConfig(width=6, depth=2, norm="batch"))
    check(given, 3, "batch", steps="joint", real_batch=5)
    assert M3D(M3DConfig()).couples(given.network)
    assert not M3D(M3DConfig()).couples(task().network)


def test_real_digits() -> None:
    check(task(2, 2, train=load("digits", "train")), 2, real_batch=30)


def test_with_the_linear_kernel_the_loss_is_that_of_dm() -> None:
    from dance.methods.dm import DM, DMConfig

    given = task(2, 1)
    _, losses = run(given, 1, kernel="linear", augmentation="", real_batch=0)
    mean, std = (
        torch.tensor(p, dtype=torch.float64).view(-1, 1, 1)
        for p in (given.train.normalization.mean, given.train.normalization.std)
    )
    method = DM(DMConfig(augmentation="", real_batch=0))
    standardised = replace(given, initial=(given.initial - mean) / std)
    found = method.start(standardised).step(0)["matching"]
    assert losses == pytest.approx([float(found)], rel=1e-9)


def test_chunks_and_processes_change_nothing_but_rounding() -> None:
    """Groups of real classes and chunks of stored images begin at different classes."""
    train = image_set((50, 33, 61, 40, 70))
    given = task(1, 2, train=train, chunk=5)
    one, losses = run(given, 3, real_batch=30)
    for chunk in (1, 2, 3):
        other, again = run(replace(given, chunk=chunk), 3, real_batch=30)
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
        assert again == pytest.approx(losses, rel=1e-10)
    own = range(1, 4)
    part = replace(given, train=train.only(own), initial=given.initial[1:4], classes=own)
    torch.testing.assert_close(run(part, 3, real_batch=30)[0], one[1:4], rtol=1e-10, atol=1e-12)
