"""Matching of spatial attention by class."""

from __future__ import annotations

import torch
from torch.nn import functional


def spatial_attention(maps: torch.Tensor, power: int) -> torch.Tensor:
    """The spatial attention of a layer (Sajedi et al. 2023, Eq. 3, normalised for each image).

    A(i,j) = sum over channels c of |F_c(i,j)|^p, divided by the Euclidean norm of A over all
    positions of the image; if all activations of an image are 0, so is its attention.

    Args:
        maps: F, (n,C,h,w) activations of the layer.
        power: p, at least 1.

    Returns:
        (n,h*w), with the dtype of ``maps``.
    """
    return functional.normalize(maps.abs().pow(power).sum(1).flatten(1), dim=1)
