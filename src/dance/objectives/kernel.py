"""The maximum mean discrepancy of feature distributions, by class and for several kernels."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from dance.core.errors import ConfigError, nearest

Kernel = Literal["gaussian", "linear", "polynomial", "laplace"]

_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of the Gaussian kernels, in multiples of the mean squared distance."""
_RATES = (0.1, 1.0, 5.0)
"""Values of g in the kernel that M3D's code calls laplace."""


def discrepancy(real: torch.Tensor, synthetic: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """The biased estimate of the squared maximum mean discrepancy (Zhang et al. 2024b, M3D).

    It is mean k(r,r') - 2 mean k(r,s) + mean k(s,s') over all pairs, including those of a row with
    itself, for one of the kernels

    * ``gaussian``: sum_j exp(-|a-b|^2 / (m_j B)) with m = 1/4, 1/2, 1, 2, 4, where B is the mean
      squared distance of two different rows among the real and synthetic ones, held constant;
    * ``linear``: <a,b>, for which it is the squared distance of the means, DM's loss;
    * ``polynomial``: (<a,b> + 1)^2;
    * ``laplace``: sum_g exp(-g |a-b|^2) with g = 0.1, 1, 5, a Gaussian kernel despite its name.

    Args:
        real: (k,n,D) features of the real images of k classes.
        synthetic: (k,m,D) features of the synthetic images of these classes.
        kernel: name of the kernel.

    Returns:
        (k,), at least 0 up to rounding.

    Raises:
        ConfigError: unknown kernel.
    """
    if kernel not in get_args(Kernel):
        raise ConfigError(f"unknown kernel {kernel!r}{nearest(kernel, get_args(Kernel))}")
    n, m = real.shape[1], synthetic.shape[1]
    if kernel in ("linear", "polynomial"):
        rows = torch.cat([real, synthetic], 1)
        values = rows @ rows.mT
        if kernel == "polynomial":
            values = (values + 1).square()
    else:
        distances = _distances(real, synthetic)
        if kernel == "laplace":
            rates = torch.tensor(_RATES, dtype=real.dtype, device=real.device).view(-1, 1, 1, 1)
        else:
            pairs = (n + m) * (n + m - 1)
            spread = distances.detach().sum((1, 2)) / pairs
            spread = spread.where(spread > 0, torch.ones_like(spread))  # else all rows are equal
            multiples = torch.tensor(_MULTIPLES, dtype=real.dtype, device=real.device)
            rates = 1 / (multiples[:, None] * spread)[..., None, None]
        values = (-rates * distances).exp().sum(0)
    within, across = values[:, :n, :n].mean((1, 2)), values[:, :n, n:].mean((1, 2))
    return within - 2 * across + values[:, n:, n:].mean((1, 2))


def _distances(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    """Squared distances (k,n+m,n+m) of all pairs of rows.

    The mean of the real rows is subtracted first, which reduces the cancellation in
    |a|^2 + |b|^2 - 2 <a,b>.
    """
    mean = real.mean(1, keepdim=True)
    rows = torch.cat([real - mean, synthetic - mean], 1)
    squares = rows.square().sum(2)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * rows @ rows.mT
    off_diagonal = ~torch.eye(distances.shape[1], dtype=torch.bool, device=distances.device)
    return distances.clamp_min(0) * off_diagonal
