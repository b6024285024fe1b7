"""Class means of synthetic features as a classifier of real images (Wang et al. 2022, CAFE)."""

from __future__ import annotations

import torch
from torch.nn import functional


def centre_cross_entropy(
    real: torch.Tensor, labels: torch.Tensor, centres: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the logits <f, centre_c>, summed over real images, and its gradient.

    The logits have no temperature, bias or normalisation. The gradient is given in closed form, so
    the sums of several batches of real images can be added up without a graph.

    Args:
        real: f, (n,D) embeddings of real images.
        labels: (n,) int64.
        centres: (K,D) mean embeddings of the synthetic images of each class.

    Returns:
        The sum, 0-dim, and its gradient (K,D) with respect to the centres,
        (softmax - one-hot)^T f.
    """
    logits = real @ centres.T
    error = logits.softmax(1)
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    return functional.cross_entropy(logits, labels, reduction="sum"), error.T @ real
