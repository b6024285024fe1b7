"""K-means clustering of features, as a function of the features and a keyed generator."""

from __future__ import annotations

import torch

_ITERATIONS = 100
_TOLERANCE = 1e-4
"""Lloyd's iteration has converged when the squared moves of all centroids sum to at most this."""

_ROUNDING = 32
"""Bound of the rounding error of squared distances, in units of eps * max |f|^2."""


def k_means(features: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """Centroids of clusters, by Lloyd's iteration in Euclidean distance.

    The iteration starts at different features, chosen at random, and ends when the centroids have
    converged or after 100 rounds. A cluster that loses all of its features gets the zero vector as
    its centroid, as in the library that DREAM used; DREAM's released selection then takes the
    feature with the smallest norm for this cluster.

    Args:
        features: (n,D) floating point.
        clusters: number of clusters, at most n.
        generator: keyed generator on the CPU.

    Returns:
        (clusters,D), with dtype and device of ``features``.
    """
    chosen = torch.randperm(len(features), generator=generator)[:clusters].to(features.device)
    centroids = features[chosen]
    for _ in range(_ITERATIONS):
        assignment = _distances_up_to_norm(features, centroids).argmin(1)
        updated = _cluster_sums(features, assignment, clusters)
        updated /= torch.bincount(assignment, minlength=clusters).clamp(min=1)[:, None]
        converged = float((updated - centroids).square().sum()) <= _TOLERANCE
        centroids = updated
        if converged:
            break
    return centroids


def representatives(
    features: torch.Tensor, clusters: int, generator: torch.Generator, *, distinct: bool = False
) -> torch.Tensor:
    """Choose the feature that is nearest to each centroid of :func:`k_means`.

    Of features that are equally near up to rounding, such as the two of a cluster of two, the first
    one is chosen. One feature can be nearest to several centroids; if they must be distinct, each
    centroid, in order, takes the nearest one that is not taken. If there are at least as many
    clusters as features, every feature is chosen once.

    Args:
        features: (n,D) floating point.
        clusters: number of clusters.
        generator: keyed generator on the CPU.
        distinct: choose no feature twice.

    Returns:
        (min(clusters,n),) int64, indices into ``features``, on their device.
    """
    if clusters >= len(features):
        return torch.arange(len(features), device=features.device)
    distances = _distances(features, k_means(features, clusters, generator))
    slack = _ROUNDING * torch.finfo(features.dtype).eps * features.square().sum(1).max()
    if not distinct:
        return (distances <= distances.amin(0) + slack).int().argmax(0)
    chosen = []
    for distance in distances.T:
        chosen.append((distance <= distance.min() + slack).int().argmax())
        distances[chosen[-1]] = torch.inf
    return torch.stack(chosen)


def _distances(features: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances (n,clusters)."""
    norms = features.square().sum(1, keepdim=True)
    return _distances_up_to_norm(features, centroids).add_(norms)


def _distances_up_to_norm(features: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Squared distances (n,clusters) minus |feature|^2, which leaves the nearest centroid as is."""
    return torch.addmm(centroids.square().sum(1), features, centroids.T, alpha=-2)


def _cluster_sums(features: torch.Tensor, assignment: torch.Tensor, clusters: int) -> torch.Tensor:
    """Sums (clusters,D) of the features of each cluster, reproducible to the last bit."""
    if features.device.type == "cpu":
        sums = features.new_zeros(clusters, features.shape[1])
        return sums.index_add_(0, assignment, features)
    # On a GPU index_add_ sums in an order that varies; a matrix product does not.
    return torch.nn.functional.one_hot(assignment, clusters).to(features).T @ features
