"""Matching of spatial attention by class."""

from __future__ import annotations

import torch
from torch.nn import functional


def spatial_attention(maps: torch.Tensor, power: int) -> torch.Tensor:
    """Where a layer looks (Sajedi et al. 2023, Eq. 3, with every image normalised).

    A(i,j) = sum over channels of |F(i,j)|^power, brought to length 1 over all places of the image;
    0 where the layer sees nothing.

    Args:
        maps: (n,C,h,w) activations.
        power: p, at least 1.

    Returns:
        (n,h*w).
    """
    return functional.normalize(maps.abs().pow(power).sum(1).flatten(1), dim=1)
