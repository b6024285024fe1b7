"""Mean features of classes, and their distance."""

from __future__ import annotations

import torch


def class_means(features: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Mean feature of each class.

    Args:
        features: (n,D) embeddings of the images of one class after the other.
        sizes: number of images of each of the k classes in the batch; they sum to n.

    Returns:
        (k,D).
    """
    if len(set(sizes)) == 1:
        return features.view(len(sizes), sizes[0], -1).mean(1)
    return torch.stack([part.mean(0) for part in features.split(sizes)])


def mean_distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    """Squared distance of mean features (Zhang et al. 2024, Eq. 4; Zhao & Bilen 2023, Eq. 2).

    L_c = sum_d (mean real feature_d - mean synthetic feature_d)^2 for each class c: a sum, not a
    mean, over the feature dimensions d.

    Args:
        real: (k,D) mean features of the real images of k classes.
        synthetic: (k,D) mean features of the synthetic images of these classes.

    Returns:
        (k,).
    """
    return (real - synthetic).square().sum(1)
