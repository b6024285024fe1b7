"""Distribution calibration: the cross-entropy of the synthetic images under an expert."""

from __future__ import annotations

import torch
from torch.nn import functional


def class_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]
) -> torch.Tensor:
    """Mean cross-entropy of the images of each class (Zhang et al. 2024, Eq. 5, by class).

    Args:
        logits: (n,K) of an expert, for the images of one class after the other.
        labels: (n,) int64.
        sizes: number of images of each of the k classes in the batch; they sum to n.

    Returns:
        (k,), one mean per class in the batch.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if len(set(sizes)) == 1:
        return losses.view(len(sizes), sizes[0]).mean(1)
    return torch.stack([part.mean() for part in losses.split(sizes)])
