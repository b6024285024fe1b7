"""Matching of weight gradients: distances, and what they ask of the images.

A distance D(g_T, g_S) compares the gradients of a loss on real and on synthetic images, one tensor
for each weight. Its derivative v = dD/dg_S has a closed form, so D itself needs no graph, and the
gradient of the images is that of the one number <g_S, v> with v held fixed:

    dD/dx = d/dx <grad_w L(w, x), v>.

That is the exact derivative of D, and there are two ways to take it. Where a network has operations
that carry logits and their derivative along v (:meth:`dance.networks.Network.jvp`), the number is
:func:`loss_jvp` and its gradient one of first order; elsewhere :func:`input_gradient` reverses the
backward pass. ``docs/results/gradient-matching.md`` has what each takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

EPSILON = 1e-6
"""Added to the product of two norms (Zhao et al. 2021): where a gradient vanishes, the distance of
its row has a derivative that is 0."""

Weights = Mapping[str, torch.Tensor]
Loss = Callable[[Weights, torch.Tensor], torch.Tensor]
"""Weights by name and images (n,C,H,W) to the mean loss of the images."""


@dataclass(frozen=True, eq=False)
class Distance:
    """A distance of gradients.

    Attributes:
        value: D, 0-dim.
        gradient: v = dD/dg_S, a tensor for each of g_S.
    """

    value: torch.Tensor
    gradient: list[torch.Tensor]


Metric = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], Distance]


def row_cosine(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """DC's distance (Zhao et al. 2021, Eq. 10), by layer and by row.

    D = sum over tensors and over their rows (first axis) of 1 - <a,b> / (|a| |b| + 1e-6) with a row
    a of the real and b of the synthetic gradient. Tensors of one axis have no rows: leave them out.
    """
    value, gradient = _zero(synthetic), []
    for a, b in zip(real, synthetic, strict=True):
        distances, gradients = _cosine(a.flatten(1), b.flatten(1))
        value = value + distances.sum()
        gradient.append(gradients.view_as(b))
    return Distance(value, gradient)


def cosine(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """The same of all tensors laid end to end as one row: DC's ablation."""
    a, b = (torch.cat([g.flatten() for g in side])[None] for side in (real, synthetic))
    distances, gradients = _cosine(a, b)
    parts = gradients[0].split([g.numel() for g in synthetic])
    gradient = [part.view_as(g) for part, g in zip(parts, synthetic, strict=True)]
    return Distance(distances.sum(), gradient)


def squared_error(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """IDC's ``mse``: the sum of squared differences (Kim et al. 2022), averaged over nothing."""
    differences = [b - a for a, b in zip(real, synthetic, strict=True)]
    value = sum((d.square().sum() for d in differences), _zero(synthetic))
    return Distance(value, [2 * d for d in differences])


def absolute_error(real: Sequence[torch.Tensor], synthetic: Sequence[torch.Tensor]) -> Distance:
    """IDC's ``l1``: the sum of absolute differences, averaged over nothing."""
    differences = [b - a for a, b in zip(real, synthetic, strict=True)]
    value = sum((d.abs().sum() for d in differences), _zero(synthetic))
    return Distance(value, [d.sign() for d in differences])


def weight_gradients(loss: Loss, weights: Weights, images: torch.Tensor) -> list[torch.Tensor]:
    """The gradients g of a loss, one for each weight; first order."""
    leaves = _leaves(weights)
    return list(torch.autograd.grad(loss(leaves, images), list(leaves.values())))


def input_gradient(
    loss: Loss,
    weights: Weights,
    images: torch.Tensor,
    direction: Callable[[list[torch.Tensor]], list[torch.Tensor]],
) -> torch.Tensor:
    """The gradient of <grad_w L, v> with respect to the images, of the shape of ``images``.

    Args:
        loss: of operations that have second derivatives.
        weights: those that are compared.
        images: (n,C,H,W).
        direction: from the gradients grad_w L of these images to v, which is held fixed.
    """
    leaves, x = _leaves(weights), images.detach().requires_grad_()
    gradients = torch.autograd.grad(loss(leaves, x), list(leaves.values()), create_graph=True)
    v = direction([gradient.detach() for gradient in gradients])
    (found,) = torch.autograd.grad(gradients, x, v)
    return found


def loss_jvp(logits: torch.Tensor, tangents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """<grad_w L, v>, 0-dim: the derivative of the mean cross-entropy L along v.

    Args:
        logits: (n,K).
        tangents: (n,K) derivatives of the logits along v.
        labels: (n,) int64.
    """
    gradient = logits.softmax(1) - functional.one_hot(labels, logits.shape[1])
    return (gradient * tangents).sum(1).mean()


def _leaves(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}


def _zero(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    return gradients[0].new_zeros(())


def _cosine(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances (r,) of rows (r,n), and their derivatives (r,n) with respect to ``b``.

    With s = |a| |b| + 1e-6 the distance is 1 - <a,b>/s and its derivative
    <a,b> |a| b / (|b| s^2) - a / s; a row b of zeros has no direction, and the first term is 0.
    """
    product, length = (a * b).sum(1, keepdim=True), a.norm(dim=1, keepdim=True)
    own = b.norm(dim=1, keepdim=True)
    scale = length * own + EPSILON
    factor = torch.where(own > 0, product * length / (own * scale.square()), 0.0)
    return 1 - (product / scale)[:, 0], factor * b - a / scale
