"""Characteristic functions of feature distributions, and their distance (Wang et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

Characteristic = tuple[torch.Tensor, torch.Tensor]
"""Real and imaginary parts, each (F,), of a characteristic function at F frequencies."""

_MIN_PHASE = 1e-12
"""Lower bound of the phase term, because the square root has no derivative at 0."""
_NEGATIVE_SLOPE = 0.2
"""Slope of the sampling network's leaky ReLU below 0."""


def characteristic(features: torch.Tensor, frequencies: torch.Tensor) -> Characteristic:
    """The empirical characteristic function of features, mean_j exp(i <t,f_j>).

    Args:
        features: f, (n,D).
        frequencies: (F,D), a row for each t.

    Returns:
        Real and imaginary parts, each (F,).
    """
    phases = features @ frequencies.T
    return phases.cos().mean(0), phases.sin().mean(0)


def characteristic_distance(
    real: Characteristic, synthetic: Characteristic, amplitude: float, phase: float
) -> torch.Tensor:
    """Distance of two characteristic functions (Wang et al. 2025, as released).

    mean_t sqrt(a (|P| - |Q|)^2 + 2 b (|P||Q| - Re P Re Q - Im P Im Q)). For a = b = 1, the sum
    under the root is |P - Q|^2.

    Args:
        real: P, real and imaginary parts, each (F,).
        synthetic: Q at the same frequencies.
        amplitude: a, weight of the difference of the moduli.
        phase: b, weight of the difference of the angles.

    Returns:
        0-dim.
    """
    (a, b), (c, d) = real, synthetic
    moduli = [(x.square() + y.square()).sqrt() for x, y in (real, synthetic)]
    amplitude_term = (moduli[0] - moduli[1]).square()
    phase_term = (2 * (moduli[0] * moduli[1] - a * c - b * d)).clamp_min(_MIN_PHASE)
    return (amplitude * amplitude_term + phase * phase_term).sqrt().mean()


def mixture_scales(weights: Sequence[torch.Tensor], noise: torch.Tensor) -> torch.Tensor:
    """The output of the sampling network, which scales normally distributed frequencies.

    The network has blocks of a linear layer and a batch norm with the statistics of the batch, with
    a leaky ReLU between blocks and tanh at the end (Wang et al. 2025, as released: three blocks).

    Args:
        weights: four tensors for each block: weight (D,D) and bias (D,) of the linear layer, scale
            (D,) and shift (D,) of the norm.
        noise: (n,D) input of the network.

    Returns:
        (n,D), in (-1,1).
    """
    blocks = [weights[start : start + 4] for start in range(0, len(weights), 4)]
    x = noise
    for number, (weight, bias, scale, shift) in enumerate(blocks):
        x = functional.linear(x, weight, bias)
        x = functional.batch_norm(x, None, None, scale, shift, training=True)
        last = number == len(blocks) - 1
        x = x.tanh() if last else functional.leaky_relu(x, _NEGATIVE_SLOPE)
    return x
