"""Matching of feature means by class."""

from __future__ import annotations

import torch


def class_means(features: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Mean feature of each class.

    Args:
        features: (n,D) embeddings, class after class.
        sizes: images of each of the K classes; they sum to n.

    Returns:
        (K,D).
    """
    if len(set(sizes)) == 1:
        return features.view(len(sizes), sizes[0], -1).mean(1)
    return torch.stack([part.mean(0) for part in features.split(sizes)])


def mean_distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    """Squared distance of mean features (Zhang et al. 2024, Eq. 4; Zhao & Bilen 2023, Eq. 2).

    L_c = sum_d (mean real feature_d - mean synthetic feature_d)^2: summed over feature dimensions,
    not averaged over classes.

    Args:
        real: (K,D) mean features of real images.
        synthetic: (K,D) mean features of synthetic images.

    Returns:
        (K,).
    """
    return (real - synthetic).square().sum(1)
