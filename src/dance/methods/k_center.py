"""K-Center: images that leave no image of their class far from all of them.

For each class, with features f_1..f_n of an expert and their mean m:

1. S = {the image nearest to m}
2. ipc - 1 times: put into S the image whose distance to the nearest one in S is largest

Farthest-first (Gonzalez 1985), which is within a factor of 2 of the best cover (Sener & Savarese
2018 brought it to deep features). The start is the one that the authors of DC give for their
tables; the first image is that of herding. A set of fewer images is the beginning of one of more.

It prefers outliers, and at ten images per class comes out below random selection in the published
tables: an implementation that does not is likely to do something else.

*Choices.* Features as for herding (:mod:`dance.methods.herding`). Distances are Euclidean, in
float64; while an image is left that is no copy of a chosen one, no copy is chosen.

*Deviations.* Others start at a random image (DeepCore, which cannot choose a single one). The row
called "K-Center" of DC-Bench is k-means (:mod:`dance.methods.k_means`) and far stronger.
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
        """The box above for one class; nothing is drawn."""
        return farthest_first(features, count)


def farthest_first(features: torch.Tensor, count: int) -> torch.Tensor:
    """Places (count,) of distinct images, the first of them nearest to the mean.

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
        nearest[last] = -torch.inf  # never again
        chosen.append(first_least(-nearest, 4 * size))
    return torch.tensor(chosen[:count], dtype=torch.int64)
