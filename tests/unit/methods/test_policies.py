"""The fast ways to run a step against the literal float64 loop, on the published network."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from dance.kernels import plain_operations
from dance.kernels.library import library
from dance.methods.base import CondensationTask
from dance.methods.dance import DANCE, DANCEConfig
from dance.networks import NetworkConfig
from unit.methods import literal
from unit.methods.tasks import image_set, task

OPTIONS = DANCEConfig(real_batch=5, learning_rate=0.03)
PUBLISHED = NetworkConfig()
RESOLUTION = 32
SEEDS = range(4)


def given(seed: int, **changes: object) -> CondensationTask:
    train = image_set((6, 9), resolution=RESOLUTION, seed=seed)
    made = task(1, 2, train=train, network=PUBLISHED, dtype=changes.pop("dtype", torch.float64))
    return replace(made, seed=seed, **changes)


@pytest.fixture(scope="module")
def exact() -> list[torch.Tensor]:
    """Stored images after two iterations of the literal loop, for each seed."""
    return [literal.condense(given(seed), OPTIONS, 2, "instance").pixels for seed in SEEDS]


@pytest.mark.parametrize(
    ("way", "least", "most"),
    [
        pytest.param("kernel", 1e-5, 0.02, id="float32 with the compiled block"),
        pytest.param("plain", 1e-5, 0.02, id="float32 in PyTorch's operations"),
        pytest.param("bfloat16", 0.1, 0.1, id="bfloat16"),
    ],
)
def test_a_step_is_the_literal_one(
    way: str, least: float, most: float, exact: list[torch.Tensor]
) -> None:
    """The error of a class is held against how far its stored images moved, in the Euclidean norm.

    A pre-activation within rounding of 0 may fall on the other side of a ReLU, on one processor
    and not on another, and moves the images of that class by 1e-5 to 4e-3. A wrong step would move
    those of all classes, so the least error counts: 1e-6 to 6e-6 in float32.
    """
    if way == "kernel" and library() is None:
        pytest.skip("the kernels are not built here")
    errors: list[float] = []
    for seed, right in zip(SEEDS, exact, strict=True):
        start = given(seed, dtype=torch.float32, bfloat16=way == "bfloat16")
        made = DANCE(OPTIONS).start(start)
        with plain_operations() if way == "plain" else nullcontext():
            for iteration in range(2):
                made.step(iteration)
        moved = right - start.initial.double()
        wrong = made.state.pixels.double() - right
        errors += [float(a.norm() / b.norm()) for a, b in zip(wrong, moved, strict=True)]
    assert min(errors) < least
    assert max(errors) < most
