"""Matching of training trajectories, and its derivative in the memory of one step.

A student starts at an expert's weights theta_0 and takes N steps of plain SGD,

    theta_{i+1} = theta_i - a g_i(theta_i, x),

on synthetic images x. The loss is the squared distance to the expert's later weights theta*, in
squared lengths of the expert's own way (Cazenavette et al. 2022, Eq. 2):

    L = |theta_N - theta*|^2 / |theta_0 - theta*|^2.

Backward through all steps at once needs N graphs. Their chain rule, read from the end, needs one:

    lambda_N = 2 (theta_N - theta*) / |theta_0 - theta*|^2,   q_i = <g_i, lambda_{i+1}>,
    dL/dx += -a dq_i/dx,   dL/da += -q_i,   lambda_i = lambda_{i+1} - a dq_i/dtheta_i.

This is the same derivative, not an approximation: lambda_i is dL/dtheta_i. (TESLA keeps
lambda_N for every step, which drops what x does through later weights.) All weights are flat (P,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Gradient = Callable[[torch.Tensor], torch.Tensor]
"""g_i: weights (P,) to the gradient (P,) of the loss of the step's images, without a graph."""


@dataclass(frozen=True, eq=False)
class StepGradients:
    """What one step gives back, without a graph.

    Attributes:
        product: q = <g, lambda>, 0-dim.
        weights: dq/dtheta (P,), or None where it was not asked for.
    """

    product: torch.Tensor
    weights: torch.Tensor | None


StepBackward = Callable[[torch.Tensor, torch.Tensor, bool], StepGradients]
"""Weights theta_i, lambda_{i+1}, and whether dq/dtheta is wanted, to what the step gives back; it
also adds -a dq/dx to the gradient of its images."""


def distance(weights: torch.Tensor, first: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L, 0-dim: 1 for a student that has not moved."""
    return (weights - target).square().sum() / (first - target).square().sum()


def unroll(
    first: torch.Tensor, rate: torch.Tensor, gradients: Sequence[Gradient]
) -> list[torch.Tensor]:
    """The student's weights theta_0, ..., theta_N.

    Args:
        first: theta_0.
        rate: a, 0-dim.
        gradients: g_0, ..., g_{N-1}.
    """
    path = [first]
    for gradient in gradients:
        path.append(path[-1] - rate * gradient(path[-1]))
    return path


def backward(
    path: Sequence[torch.Tensor],
    target: torch.Tensor,
    rate: torch.Tensor,
    steps: Sequence[StepBackward],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a student's last weights, and its derivatives through the steps, last first.

    Args:
        path: theta_0, ..., theta_N.
        target: theta*.
        rate: a, 0-dim.
        steps: backward passes of steps 0 to N-1; each is called once.

    Returns:
        L and dL/da, both 0-dim. The gradient of the images is what ``steps`` add up.
    """
    length = (path[0] - target).square().sum()
    adjoint = 2 * (path[-1] - target) / length
    gradient = torch.zeros_like(rate)
    for step in reversed(range(len(steps))):
        found = steps[step](path[step], adjoint, step > 0)
        gradient = gradient - found.product
        if found.weights is not None:
            adjoint = adjoint - rate * found.weights
    return distance(path[-1], path[0], target), gradient
