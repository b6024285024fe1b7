"""The closed form against torch's SGD, called once per class on the tensor of all classes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.methods.toolkit.classwise_sgd import ClassSGD

RESOLUTION = 2


def numbers(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(
    momentum=st.one_of(st.just(0.0), st.just(0.5), st.floats(0.0, 0.97)),
    rate=st.floats(1e-3, 0.5),
    classes=st.integers(1, 7),
    ipc=st.integers(1, 3),
    cycles=st.integers(1, 4),
    seed=st.integers(0, 1000),
    clamp=st.booleans(),
)
def test_is_torch_sgd_class_after_class(
    momentum: float, rate: float, classes: int, ipc: int, cycles: int, seed: int, clamp: bool
) -> None:
    """Gradients depend on the position, so each must be taken where the class then is."""
    shape = (classes * ipc, 1, RESOLUTION, RESOLUTION)
    start, target = numbers(*shape, seed=seed), numbers(*shape, seed=seed + 1)
    curvature = numbers(cycles, *shape, seed=seed + 2).abs()

    literal = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.SGD([literal], lr=rate, momentum=momentum)
    pixels, velocity = start.clone(), torch.zeros(shape, dtype=torch.float64)

    for cycle in range(cycles):
        seen = torch.empty(shape, dtype=torch.float64)
        for c in range(classes):
            own = slice(c * ipc, (c + 1) * ipc)
            seen[own] = literal.detach()[own]
            optimiser.zero_grad()
            (curvature[cycle, own] * (literal[own] - target[own]) ** 2).sum().backward()
            optimiser.step()

        closed = ClassSGD(pixels, velocity, classes, rate, momentum)
        closed.before()
        torch.testing.assert_close(pixels, seen, rtol=1e-9, atol=1e-9)
        closed.step(2 * curvature[cycle] * (pixels - target))
        closed.after()
        torch.testing.assert_close(pixels, literal.detach(), rtol=1e-9, atol=1e-9)
        if momentum:
            buffer = optimiser.state[literal]["momentum_buffer"]
            torch.testing.assert_close(velocity, buffer, rtol=1e-9, atol=1e-9)
        if clamp:  # changes the pixels, not the momentum
            pixels.clamp_(-0.5, 0.5)
            literal.data.clamp_(-0.5, 0.5)


def test_one_gradient_moves_a_class_by_twice_the_rate() -> None:
    """lr g (1 + 1/2 + 1/4 + ...) is 2 lr g to 0.2 % before the next own gradient of 10 classes."""
    pixels, velocity = torch.zeros(10, 1, 1, 1), torch.zeros(10, 1, 1, 1)
    closed = ClassSGD(pixels, velocity, 10, 0.01, 0.5)
    gradient = torch.ones(10, 1, 1, 1)
    closed.before()
    closed.step(gradient)
    closed.after()
    closed.before()
    torch.testing.assert_close(pixels, torch.full_like(pixels, -0.02), rtol=2.1e-3, atol=0)
    assert velocity.max() < 2 * 0.5**9


def test_one_class_is_plain_sgd_with_momentum() -> None:
    """The joint form: no step of another class in between, so nothing drifts."""
    start, gradients = (
        numbers(6, 1, RESOLUTION, RESOLUTION, seed=0),
        numbers(5, 6, 1, RESOLUTION, RESOLUTION, seed=1),
    )
    literal = torch.nn.Parameter(start.clone())
    optimiser = torch.optim.SGD([literal], lr=0.1, momentum=0.5)
    pixels, velocity = start.clone(), torch.zeros_like(start)
    for gradient in gradients:
        literal.grad = gradient.clone()
        optimiser.step()
        closed = ClassSGD(pixels, velocity, 1, 0.1, 0.5)
        before = pixels.clone()
        closed.before()
        assert torch.equal(pixels, before)
        closed.step(gradient)
        after = pixels.clone()
        closed.after()
        assert torch.equal(pixels, after)
    torch.testing.assert_close(pixels, literal.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_works_in_place_in_the_dtype_it_gets(dtype: torch.dtype) -> None:
    pixels, velocity = (
        torch.zeros(200, 1, 2, 2, dtype=dtype),
        torch.zeros(200, 1, 2, 2, dtype=dtype),
    )
    closed = ClassSGD(pixels, velocity, 200, 0.01, 0.5)
    for _ in range(3):
        closed.before()
        closed.step(torch.ones_like(pixels))
        closed.after()
    assert pixels.dtype == velocity.dtype == dtype
    assert bool(pixels.isfinite().all())
    assert bool(
        (pixels < -0.0499).all()
    )  # 2 cycles of 0.02; the last class has only begun its third
