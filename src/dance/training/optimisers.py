"""SGD with momentum and AdamW as functions of tensors, for every network that is trained here.

One step with the gradient g at the weights theta is, for SGD with momentum m and weight decay w,

    v <- m v + (g + w theta),   theta <- theta - lr v,

and for AdamW, in its step t = 1, 2, ...,

    theta <- (1 - lr w) theta,   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,
    theta <- theta - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + 1e-8).

:func:`sgd_step` and :func:`adamw_step` take the sums in the order of :class:`torch.optim.SGD` and
:class:`torch.optim.AdamW`, so that the results equal theirs to the last bit. The moments are
arguments that are changed in place: their owner saves them, restores them and sets them to zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

ADAMW_BETAS = (0.9, 0.999)
"""PyTorch's decay rates of AdamW's two moments."""
ADAMW_EPSILON = 1e-8
"""Added to AdamW's denominator, as PyTorch does."""


@torch.no_grad()
def sgd_step(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    velocities: Sequence[torch.Tensor],
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    """One step of SGD with momentum and an L2 penalty.

    Args:
        parameters: theta, tensors of any shapes; changed in place.
        gradients: g, one like each of them.
        velocities: v, one like each of them, zeros before the first step; changed in place.
            Without momentum none are needed.
        learning_rate: lr.
        momentum: m in [0,1).
        weight_decay: w.
    """
    sgd(
        list(parameters),
        list(gradients),
        list(velocities) if momentum else [None] * len(parameters),
        weight_decay=weight_decay,
        momentum=momentum,
        lr=learning_rate,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )


@torch.no_grad()
def flat_sgd_step(
    weights: torch.Tensor,
    velocity: torch.Tensor,
    gradient: torch.Tensor,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    """One step of SGD on one tensor, such as all weights of a network end to end.

    There are two functions because the penalty is added after the gradient here, (m v + g) +
    w theta, and before it in :func:`sgd_step`, m v + (g + w theta), which rounds differently: with
    one of them for all, the last bits of every result of IDC and DREAM, or of every network in the
    evaluation, would change. Without a penalty both give the same bits.

    Args:
        weights: theta, of any shape; changed in place.
        velocity: v, of the same shape, zero before the first step; changed in place.
        gradient: g, of the same shape.
        learning_rate: lr.
        momentum: m, at least 0; below 1 for it to decay.
        weight_decay: w.
    """
    velocity.mul_(momentum).add_(gradient)
    if weight_decay:
        velocity.add_(weights, alpha=weight_decay)
    weights.sub_(velocity, alpha=learning_rate)


@torch.no_grad()
def adamw_step(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    means: Sequence[torch.Tensor],
    squares: Sequence[torch.Tensor],
    step: int,
    *,
    learning_rate: float,
    betas: tuple[float, float] = ADAMW_BETAS,
    weight_decay: float = 0.0,
) -> None:
    """One step of AdamW (Loshchilov and Hutter 2019).

    Args:
        parameters: theta, tensors of any shapes; changed in place.
        gradients: g, one like each of them.
        means: m, one like each of them, zeros before the first step; changed in place.
        squares: v, one like each of them, zeros before the first step; changed in place.
        step: t, the number of this step from 1.
        learning_rate: lr.
        betas: b1 and b2.
        weight_decay: w, decoupled from the gradient.
    """
    done = [torch.tensor(step - 1.0) for _ in parameters]
    adamw(
        list(parameters),
        list(gradients),
        list(means),
        list(squares),
        [],
        done,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=learning_rate,
        weight_decay=weight_decay,
        eps=ADAMW_EPSILON,
        maximize=False,
    )
