"""K-means clustering of features: deterministic, from a keyed generator."""

from __future__ import annotations

import torch

_ITERATIONS = 100
_TOLERANCE = 1e-4
"""Sum over centroids of the squared distance that they moved, at which they stand still."""

_ROUNDING = 32
"""Units in the last place of the longest feature's square that distances may be wrong by."""


def k_means(features: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """Centroids (clusters,D) by Lloyd's iteration in Euclidean distance.

    It begins at random features, no one twice, and ends when the centroids stand still or after 100
    rounds. A cluster that loses all of its features has the zero vector as its centroid, as in the
    library that DREAM used (DREAM's published choice then takes the shortest feature for it).

    Args:
        features: (n,D) floats.
        clusters: at most n.
        generator: keyed generator on the CPU.
    """
    chosen = torch.randperm(len(features), generator=generator)[:clusters].to(features.device)
    centroids = features[chosen]
    for _ in range(_ITERATIONS):
        owners = _towards(features, centroids).argmin(1)
        moved = _sums(features, owners, clusters)
        moved /= torch.bincount(owners, minlength=clusters).clamp(min=1)[:, None]
        still = float((moved - centroids).square().sum()) <= _TOLERANCE
        centroids = moved
        if still:
            break
    return centroids


def representatives(
    features: torch.Tensor, clusters: int, generator: torch.Generator
) -> torch.Tensor:
    """The feature nearest to each centroid of :func:`k_means`: (clusters,) int64, some maybe twice.

    As many clusters as features or more give every feature once. Of features equally near up to
    rounding, as both of a cluster of two are, it is the first.
    """
    if clusters >= len(features):
        return torch.arange(len(features), device=features.device)
    distances = _distances(features, k_means(features, clusters, generator))
    slack = _ROUNDING * torch.finfo(features.dtype).eps * features.square().sum(1).max()
    return (distances <= distances.amin(0) + slack).int().argmax(0)


def _distances(features: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances (n,clusters)."""
    return _towards(features, centroids).add_(features.square().sum(1, keepdim=True))


def _towards(features: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """The same without the features' own squared lengths, which decide no feature's centroid."""
    return torch.addmm(centroids.square().sum(1), features, centroids.T, alpha=-2)


def _sums(features: torch.Tensor, owners: torch.Tensor, clusters: int) -> torch.Tensor:
    """Sums (clusters,D) of the features of each cluster, the same bytes every time."""
    if features.device.type == "cpu":
        found = features.new_zeros(clusters, features.shape[1])
        return found.index_add_(0, owners, features)
    # On a GPU an indexed sum adds in any order; a product does not.
    return torch.nn.functional.one_hot(owners, clusters).to(features).T @ features
