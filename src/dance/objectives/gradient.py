"""Matching of weight gradients: distances, and their gradients with respect to the images.

A distance D(g_T, g_S) compares the gradients of a loss on real and on synthetic images, one tensor
for each weight. Its derivative v = dD/dg_S has a closed form, so D itself needs no graph, and its
gradient with respect to the images is that of the scalar <g_S, v> with v held fixed:

    dD/dx = d/dx <grad_w L(w, x), v>.

This is the exact derivative of D, and there are two ways to compute it. If a network can compute
its logits together with their derivative along v (:meth:`dance.networks.Network.jvp`), the scalar
is :func:`loss_jvp`, and one ordinary backward pass gives the gradient; otherwise
:func:`input_gradient` differentiates twice. ``docs/results/gradient-matching.md`` compares their
time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

EPSILON = 1e-6
"""Added to the product of the two norms (Zhao et al. 2021); if one of the gradients is 0, then the
derivative of its row is finite."""

Weights = Mapping[str, torch.Tensor]
Loss = Callable[[Weights, torch.Tensor], torch.Tensor]
"""A function of weights by name and images (n,C,H,W) that returns their mean loss, 0-dim."""


@dataclass(frozen=True, eq=False)
class Distance:
    """A distance between gradients, and its derivative.

    Attributes:
        value: D, 0-dim.
        gradient: v = dD/dg_S, one tensor of the same shape for each tensor of g_S.
    """

    value: torch.Tensor
    gradient: list[torch.Tensor]


Metric = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], Distance]
"""A function of the gradients on real and on synthetic images that returns their distance."""


def row_cosine(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """DC's distance: one minus the cosine of each row, summed (Zhao et al. 2021, Eq. 10).

    D = sum over tensors and over their rows (first axis) of 1 - <a,b> / (|a| |b| + 1e-6), where a
    is a row of the real gradient and b the same row of the synthetic one.

    Args:
        real: g_T, tensors of at least two axes; those of one axis have no rows and are left out by
            the caller.
        synthetic: g_S, of the same shapes.
    """
    value, gradient = _zero(synthetic), []
    for a, b in zip(real, synthetic, strict=True):
        distances, gradients = _cosine(a.flatten(1), b.flatten(1))
        value = value + distances.sum()
        gradient.append(gradients.view_as(b))
    return Distance(value, gradient)


def cosine(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """One minus the cosine of all tensors, concatenated into one row (DC's ablation).

    Args:
        real: g_T, tensors of any shape.
        synthetic: g_S, of the same shapes.
    """
    a, b = (torch.cat([g.flatten() for g in gradients])[None] for gradients in (real, synthetic))
    distances, gradients = _cosine(a, b)
    parts = gradients[0].split([g.numel() for g in synthetic])
    gradient = [part.view_as(g) for part, g in zip(parts, synthetic, strict=True)]
    return Distance(distances.sum(), gradient)


def squared_error(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """The sum, not the mean, of squared differences: IDC's ``mse`` (Kim et al. 2022)."""
    differences = [b - a for a, b in zip(real, synthetic, strict=True)]
    value = sum((d.square().sum() for d in differences), _zero(synthetic))
    return Distance(value, [2 * d for d in differences])


def absolute_error(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """The sum, not the mean, of absolute differences: IDC's ``l1`` (Kim et al. 2022)."""
    differences = [b - a for a, b in zip(real, synthetic, strict=True)]
    value = sum((d.abs().sum() for d in differences), _zero(synthetic))
    return Distance(value, [d.sign() for d in differences])


def weight_gradients(loss: Loss, weights: Weights, images: torch.Tensor) -> list[torch.Tensor]:
    """The gradients of a loss with respect to the weights, without a graph.

    Args:
        loss: the function that is differentiated.
        weights: by name, with respect to which the gradients are taken.
        images: (n,C,H,W).

    Returns:
        One tensor for each weight, of its shape and in the order of ``weights``.
    """
    leaves = _leaves(weights)
    return list(torch.autograd.grad(loss(leaves, images), list(leaves.values())))


def input_gradient(
    loss: Loss,
    weights: Weights,
    images: torch.Tensor,
    direction: Callable[[list[torch.Tensor]], list[torch.Tensor]],
) -> torch.Tensor:
    """The gradient of <grad_w L, v> with respect to the images, by double backward.

    Args:
        loss: L, made of operations that have second derivatives.
        weights: w by name, whose gradients are matched.
        images: (n,C,H,W).
        direction: a function of the gradients grad_w L of these images that returns v, which is
            held fixed.

    Returns:
        (n,C,H,W).
    """
    leaves, x = _leaves(weights), images.detach().requires_grad_()
    gradients = torch.autograd.grad(loss(leaves, x), list(leaves.values()), create_graph=True)
    v = direction([gradient.detach() for gradient in gradients])
    (gradient,) = torch.autograd.grad(gradients, x, v)
    return gradient


def loss_jvp(logits: torch.Tensor, tangents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The derivative <grad_w L, v> of the mean cross-entropy L along a direction v of the weights.

    Args:
        logits: (n,K).
        tangents: (n,K) derivatives of the logits along v.
        labels: (n,) int64.

    Returns:
        0-dim, with a graph to ``logits`` and ``tangents``.
    """
    gradient = logits.softmax(1) - functional.one_hot(labels, logits.shape[1])
    return (gradient * tangents).sum(1).mean()


def _leaves(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}


def _zero(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    return gradients[0].new_zeros(())


def _cosine(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances (r,) of rows (r,n), and their derivatives (r,n) with respect to ``b``.

    With s = |a| |b| + 1e-6, the distance is 1 - <a,b>/s and its derivative is
    <a,b> |a| b / (|b| s^2) - a / s, whose first term is set to 0 where b is 0.
    """
    product = (a * b).sum(1, keepdim=True)
    a_norm, b_norm = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    scale = a_norm * b_norm + EPSILON
    factor = torch.where(b_norm > 0, product * a_norm / (b_norm * scale.square()), 0.0)
    return 1 - (product / scale)[:, 0], factor * b - a / scale
