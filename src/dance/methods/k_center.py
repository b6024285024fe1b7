"""K-Center: images that leave no image of their class far from all of them.

For each class, with features f_1..f_n of an expert and their mean m:

1. S = {the image nearest to m}
2. ipc - 1 times: add to S the image whose distance to the nearest image in S is largest

This is farthest-first (Gonzalez 1985), which is within a factor of 2 of the best cover (Sener &
Savarese 2018 applied it to deep features). The start is the one that the authors of DC state for
their tables; the first image is that of herding. A smaller set is the beginning of a larger one.

The method prefers outliers, and at ten images per class its accuracy is below random selection in
the published tables: an implementation above it probably computes something else.

*Choices.* The features are those of herding (:mod:`dance.methods.herding`). Distances are
Euclidean, in float64; a copy of a chosen image is chosen only if no other image is left.

*Deviations.* Other implementations start at a random image (DeepCore, which cannot choose a single
image). The row "K-Center" of DC-Bench is k-means (:mod:`dance.methods.k_means`), which is much
stronger.
"""

from __future__ import annotations

import torch

from dance.methods.base import METHODS
from dance.methods.toolkit.coreset import FeatureCoreset, first_least


@METHODS.register("k_center")
class KCenter(FeatureCoreset):
    """Farthest-first from the image nearest to the class mean."""

    title = "K-Center"
    paper = "Gonzalez, 1985; Sener & Savarese, ICLR 2018"
    year = 1985

    def pick(self, features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """The algorithm above for one class; it uses no random numbers."""
        return farthest_first(features, count)


def farthest_first(features: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (count,) of distinct images, the first of them nearest to the mean.

    Args:
        features: (n,D) float64.
        count: at most n.
    """
    centred = features - features.mean(0)
    lengths = centred.square().sum(1)
    size = float(lengths.max())
    chosen = [first_least(lengths, size)]
    nearest = torch.full_like(lengths, torch.inf)
    while len(chosen) < count:
        last = chosen[-1]
        distances = lengths + lengths[last] - 2 * (centred @ centred[last])
        nearest = torch.minimum(nearest, distances)
        nearest[last] = -torch.inf  # never chosen again
        chosen.append(first_least(-nearest, 4 * size))
    return torch.tensor(chosen[:count], dtype=torch.int64)
