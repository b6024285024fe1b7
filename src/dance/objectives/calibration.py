"""Distribution calibration: an expert must recognise the synthetic images."""

from __future__ import annotations

import torch
from torch.nn import functional


def class_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]
) -> torch.Tensor:
    """Mean cross-entropy of an expert on each class (Zhang et al. 2024, Eq. 5, by class).

    Args:
        logits: (n,K) of an expert, class after class.
        labels: (n,) int64.
        sizes: images of each class present; they sum to n.

    Returns:
        One mean a class present.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if len(set(sizes)) == 1:
        return losses.view(len(sizes), sizes[0]).mean(1)
    return torch.stack([part.mean() for part in losses.split(sizes)])
