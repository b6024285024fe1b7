"""K-means: of each of ipc clusters of a class the real image nearest to its centre.

For each class, with features f_1..f_n of an expert:

1. Draw the initial centres: one image at random, then ipc - 1 images, each with a probability
   proportional to its squared distance to the nearest centre so far (k-means++, Arthur &
   Vassilvitskii 2007).
2. Until no image changes its cluster, at most 100 times: assign every image to its nearest centre
   (the first of equally near ones); move every centre to the mean of its images (Lloyd). A centre
   without images moves to the image that is farthest from its own centre.
3. Repeat 1 and 2 from several starts; keep the result with the lowest sum of squared distances, the
   first of equal ones.
4. For each centre, that of the largest cluster first, choose the nearest image that has not been
   chosen: no image is chosen twice, even if copies of an image make centres coincide.

This is the row that DC-Bench (Cui et al. 2022) calls "K-Center", although it is not farthest-first;
by its leaderboard it is the strongest selection of real images. Its code is not published: the
number of starts and iterations and the order of step 4 are choices made here. The features are
those of herding (:mod:`dance.methods.herding`). With one image per class the result is that of
herding and K-Center.

The algorithm is implemented here and not taken from a library, so that every draw is keyed, sums
have the same order for any number of threads, and it runs on the device of the features.
"""

from __future__ import annotations

import torch

from dance.core.config import AtLeastOne, configuration
from dance.methods.base import METHODS
from dance.methods.toolkit.coreset import FeatureCoreset, SelectionConfig, first_least

_MAX_ITERATIONS = 100


@configuration
class KMeansConfig(SelectionConfig):
    """Selection by k-means."""

    starts: AtLeastOne = 4
    """Number of runs of k-means, of which the best is used."""


@METHODS.register("k_means")
class KMeans(FeatureCoreset):
    """The image nearest to each centre of k-means."""

    title = "K-means selection"
    paper = "Cui et al., NeurIPS 2022"
    year = 2022
    Config = KMeansConfig

    def pick(self, features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """The algorithm above for one class."""
        centred = features - features.mean(0)  # the same distances with less rounding
        best, least = torch.empty(0), float("inf")
        for _ in range(self.config.starts if count > 1 else 1):
            centres = initial_centres(centred, count, generator)
            centres, total = lloyd(centred, centres)
            if total < least:
                best, least = centres, total
        return nearest_images(centred, best)


def initial_centres(features: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Initial centres (count,D), by k-means++.

    Args:
        features: (n,D) float64.
        count: at most n.
        generator: source of one random number per centre.
    """
    points = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    chosen = [int(points[0] * len(features))]
    nearest, lengths = torch.full_like(features[:, 0], torch.inf), _lengths(features)
    for point in points[1:]:
        distances = _distances(features, features[chosen[-1:]], lengths)[:, 0]
        nearest = torch.minimum(nearest, distances)
        nearest[chosen] = 0.0
        passed = nearest.cumsum(0)
        place = int((passed <= point * passed[-1]).sum())
        chosen.append(min(place, len(features) - 1))
    return features[chosen]


def lloyd(features: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Centres (k,D) after convergence, and the sum of squared distances to the nearest centre.

    Args:
        features: (n,D) float64.
        centres: (k,D) to start from.
    """
    cluster = torch.full_like(features[:, 0], -1, dtype=torch.int64)
    lengths = _lengths(features)
    distances = _distances(features, centres, lengths)
    for _ in range(_MAX_ITERATIONS):
        joined = distances.argmin(1)
        if torch.equal(joined, cluster):
            break
        cluster = joined
        centres = _means(features, cluster, distances)
        distances = _distances(features, centres, lengths)
    return centres, float(distances.amin(1).sum())


def nearest_images(features: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Indices (k,) of distinct images, one near each centre, largest cluster first.

    Args:
        features: (n,D) float64.
        centres: (k,D), k at most n.
    """
    lengths = _lengths(features)
    distances = _distances(features, centres, lengths)
    sizes = torch.bincount(distances.argmin(1), minlength=len(centres))
    largest = float(lengths.max())
    chosen: list[int] = []
    for centre in sizes.argsort(descending=True, stable=True).tolist():
        chosen.append(first_least(distances[:, centre], 4 * largest))
        distances[chosen[-1]] = torch.inf
    return torch.tensor(chosen, dtype=torch.int64)


def _lengths(features: torch.Tensor) -> torch.Tensor:
    """Squares of the lengths (n,)."""
    return features.square().sum(1)


def _distances(
    features: torch.Tensor, centres: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Squared distances (n,k) of features, given their squared lengths."""
    products = features @ centres.T
    sums = lengths[:, None] + _lengths(centres)
    return (sums - 2 * products).clamp(min=0)


def _means(features: torch.Tensor, cluster: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Means (k,D) of the clusters; for an empty one the image farthest from its own centre.

    Args:
        features: (n,D).
        cluster: (n,) cluster of each image.
        distances: (n,k) to the previous centres.
    """
    members = torch.nn.functional.one_hot(cluster, distances.shape[1]).to(features.dtype)
    sizes = members.sum(0)
    means = (members.T @ features) / sizes.clamp(min=1)[:, None]
    own = distances.gather(1, cluster[:, None])[:, 0]
    for empty in (sizes == 0).nonzero()[:, 0].tolist():
        farthest = int(own.argmax())
        means[empty] = features[farthest]
        own[farthest] = -1
    return means
