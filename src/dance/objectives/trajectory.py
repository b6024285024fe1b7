"""Matching of training trajectories; its gradient needs the memory of one training step.

A student starts at an expert's weights theta_0 and takes N steps of plain SGD,

    theta_{i+1} = theta_i - a g_i(theta_i, x),

on synthetic images x. The loss is the squared distance to the expert's later weights theta*,
divided by the squared distance that the expert itself moved (Cazenavette et al. 2022, Eq. 2):

    L = |theta_N - theta*|^2 / |theta_0 - theta*|^2.

Ordinary backpropagation through all steps keeps N graphs. The chain rule, applied to the last step
first, keeps the graph of one step at a time:

    lambda_N = 2 (theta_N - theta*) / |theta_0 - theta*|^2,   q_i = <g_i, lambda_{i+1}>,
    dL/dx += -a dq_i/dx,   dL/da += -q_i,   lambda_i = lambda_{i+1} - a dq_i/dtheta_i.

This is the exact derivative, with lambda_i = dL/dtheta_i. (TESLA uses lambda_N for every step, and
so drops the terms in which x acts through later weights.) All weights are flat vectors (P,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Gradient = Callable[[torch.Tensor], torch.Tensor]
"""g_i: a function of weights (P,) that returns the gradient (P,) of the loss of the step's images,
without a graph."""


@dataclass(frozen=True, eq=False)
class StepGradients:
    """The result of the backward pass of one step, without a graph.

    Attributes:
        product: q = <g, lambda>, 0-dim.
        weights: dq/dtheta (P,), or None if it was not requested.
    """

    product: torch.Tensor
    weights: torch.Tensor | None


StepBackward = Callable[[torch.Tensor, torch.Tensor, bool], StepGradients]
"""The backward pass of step i: a function of theta_i, of lambda_{i+1}, and of whether dq/dtheta is
requested. As a side effect it adds -a dq/dx to the gradient of the step's images."""


def distance(weights: torch.Tensor, first: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The loss L, 0-dim; it is 1 if the student has not moved.

    Args:
        weights: theta_N, (P,).
        first: theta_0, (P,).
        target: theta*, (P,).
    """
    return (weights - target).square().sum() / (first - target).square().sum()


def unroll(
    first: torch.Tensor, rate: torch.Tensor, gradients: Sequence[Gradient]
) -> list[torch.Tensor]:
    """Train the student, and return its weights theta_0, ..., theta_N.

    Args:
        first: theta_0, (P,).
        rate: the learning rate a, 0-dim.
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
    """The loss of the student's last weights, backpropagated through its steps, last step first.

    Args:
        path: theta_0, ..., theta_N, each (P,).
        target: theta*, (P,).
        rate: the learning rate a, 0-dim.
        steps: backward passes of steps 0 to N-1; each is called once. They sum the gradient of the
            images.

    Returns:
        L and dL/da, both 0-dim.
    """
    squared_length = (path[0] - target).square().sum()
    adjoint = 2 * (path[-1] - target) / squared_length
    gradient = torch.zeros_like(rate)
    for number in reversed(range(len(steps))):
        step = steps[number](path[number], adjoint, number > 0)
        gradient = gradient - step.product
        if step.weights is not None:
            adjoint = adjoint - rate * step.weights
    return distance(path[-1], path[0], target), gradient
