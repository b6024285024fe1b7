"""Matching of feature distributions by class: their characteristic functions (Wang et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

Characteristic = tuple[torch.Tensor, torch.Tensor]
"""Real and imaginary part (F,) of a characteristic function at F frequencies."""

_LEAST = 1e-12
"""Of the phase term, whose root has no slope at 0."""
_LEAK = 0.2
"""Slope of the sampling network's activation below 0."""


def characteristic(features: torch.Tensor, frequencies: torch.Tensor) -> Characteristic:
    """The empirical characteristic function, mean_j exp(i t.f_j).

    Args:
        features: (n,D).
        frequencies: (F,D) values of t.
    """
    phases = features @ frequencies.T
    return phases.cos().mean(0), phases.sin().mean(0)


def characteristic_distance(
    real: Characteristic, synthetic: Characteristic, amplitude: float, phase: float
) -> torch.Tensor:
    """Distance of two characteristic functions, 0-dim (Wang et al. 2025, as released).

    mean_t sqrt(a (|P| - |Q|)^2 + b 2 (|P||Q| - Re P Re Q - Im P Im Q)). The two parts sum to
    |P - Q|^2, so with a = b it is the mean modulus |P - Q| times sqrt(a).

    Args:
        real: P at some frequencies.
        synthetic: Q at the same ones.
        amplitude: a, weight of the difference of lengths.
        phase: b, weight of the difference of angles.
    """
    (a, b), (c, d) = real, synthetic
    lengths = [(x.square() + y.square()).sqrt() for x, y in (real, synthetic)]
    apart = (lengths[0] - lengths[1]).square()
    turned = (2 * (lengths[0] * lengths[1] - a * c - b * d)).clamp_min(_LEAST)
    return (amplitude * apart + phase * turned).sqrt().mean()


def mixture_scales(weights: Sequence[torch.Tensor], noise: torch.Tensor) -> torch.Tensor:
    """What the sampling network makes of noise: scales in (-1,1) of normal frequencies.

    Three blocks of a linear layer and batch norm by the batch's own statistics, leaky ReLUs
    between them and tanh at the end.

    Args:
        weights: of each block the linear weight (D,D) and bias (D,), the norm's scale and shift.
        noise: (n,D).

    Returns:
        (n,D).
    """
    blocks = [weights[start : start + 4] for start in range(0, len(weights), 4)]
    x = noise
    for number, (weight, bias, scale, shift) in enumerate(blocks):
        x = functional.linear(x, weight, bias)
        x = functional.batch_norm(x, None, None, scale, shift, training=True)
        x = x.tanh() if number == len(blocks) - 1 else functional.leaky_relu(x, _LEAK)
    return x
