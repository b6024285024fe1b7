"""The optimisers' steps equal those of torch.optim to the last bit."""

from __future__ import annotations

import pytest
import torch

from dance.training.optimisers import adamw_step, flat_sgd_step, sgd_step

SHAPES = ((4, 3, 3, 3), (4,), (5, 7))
RATES = (0.1, 0.1, 0.02, 0.02, 0.5)


def drawn(number: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def zeros() -> list[torch.Tensor]:
    return [torch.zeros(shape) for shape in SHAPES]


def by_torch(kind: type[torch.optim.Optimizer], **options: object) -> list[torch.Tensor]:
    """Weights after a step with each of the rates."""
    parameters = drawn(0)
    optimiser = kind(parameters, lr=1.0, **options)
    for number, rate in enumerate(RATES, 1):
        optimiser.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(parameters, drawn(number), strict=True):
            parameter.grad = gradient
        optimiser.step()
    return parameters


def assert_equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
def test_sgd(momentum: float, weight_decay: float) -> None:
    parameters, velocities = drawn(0), zeros() if momentum else []
    for number, rate in enumerate(RATES, 1):
        sgd_step(
            parameters,
            drawn(number),
            velocities,
            learning_rate=rate,
            momentum=momentum,
            weight_decay=weight_decay,
        )
    options = {"momentum": momentum, "weight_decay": weight_decay}
    assert_equal(parameters, by_torch(torch.optim.SGD, **options))


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adamw(weight_decay: float) -> None:
    parameters, means, squares = drawn(0), zeros(), zeros()
    for number, rate in enumerate(RATES, 1):
        adamw_step(
            parameters,
            drawn(number),
            means,
            squares,
            number,
            learning_rate=rate,
            weight_decay=weight_decay,
        )
    assert_equal(parameters, by_torch(torch.optim.AdamW, weight_decay=weight_decay))


def test_leaves_that_require_gradients_are_changed_in_place() -> None:
    (leaf, *_) = drawn(0)
    leaf.requires_grad_()
    (gradient, *_), velocity = drawn(1), torch.zeros(SHAPES[0])
    sgd_step([leaf], [gradient], [velocity], learning_rate=0.1, momentum=0.9)
    assert leaf.is_leaf and leaf.requires_grad
    assert torch.equal(velocity, gradient)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.5, 0.01)])
def test_flat_sgd_is_torch_s_up_to_rounding(momentum: float, weight_decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(20, generator=generator, dtype=torch.float64)
    other = torch.nn.Parameter(weights.clone())
    velocity = torch.zeros_like(weights)
    optimiser = torch.optim.SGD([other], lr=0.1, momentum=momentum, weight_decay=weight_decay)
    for _ in range(4):
        gradient = torch.randn(20, generator=generator, dtype=torch.float64)
        flat_sgd_step(weights, velocity, gradient, 0.1, momentum, weight_decay)
        other.grad = gradient
        optimiser.step()
    torch.testing.assert_close(weights, other.detach(), rtol=1e-14, atol=1e-14)
