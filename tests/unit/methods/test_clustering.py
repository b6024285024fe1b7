"""K-means against a loop over points, and what becomes of its special cases."""

from __future__ import annotations

import torch

from dance.core.rng import keyed_generator
from dance.methods.toolkit.clustering import k_means, representatives


def points(count: int, size: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def lloyd(features: torch.Tensor, clusters: int, generator: torch.Generator) -> list[list[float]]:
    """Point by point, 100 rounds at most."""
    rows = [[float(x) for x in row] for row in features]
    start = torch.randperm(len(rows), generator=generator).tolist()[:clusters]
    centroids = [list(rows[place]) for place in start]
    for _ in range(100):
        members: list[list[list[float]]] = [[] for _ in centroids]
        for row in rows:
            away = [sum((a - b) ** 2 for a, b in zip(row, c, strict=True)) for c in centroids]
            members[away.index(min(away))].append(row)
        moved = [
            [sum(axis) / len(own) for axis in zip(*own, strict=True)] if own else [0.0] * len(row)
            for own in members
        ]
        pairs = zip(moved, centroids, strict=True)
        shift = sum((a - b) ** 2 for one, two in pairs for a, b in zip(one, two, strict=True))
        centroids = moved
        if shift <= 1e-4:
            break
    return centroids


def test_is_lloyd_s_iteration() -> None:
    for seed in range(5):
        features = points(60, seed=seed)
        found = k_means(features, 7, keyed_generator(seed, "k"))
        expected = torch.tensor(lloyd(features, 7, keyed_generator(seed, "k")), dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_clear_clusters_are_found_and_represented() -> None:
    middle = torch.eye(4, dtype=torch.float64) * 50
    features = torch.cat([m + 0.1 * points(9, 4, seed) for seed, m in enumerate(middle)])
    found = []
    for seed in range(20):
        chosen = representatives(features, 4, keyed_generator(seed, "k")).tolist()
        if len({place // 9 for place in chosen}) == 4:  # else two started in one cluster
            found.append(sorted(chosen))
    nearest = []
    for own in features.split(9):
        nearest.append(int((own - own.mean(0)).square().sum(1).argmin()) + 9 * len(nearest))
    assert found
    assert all(chosen == nearest for chosen in found)


def test_a_cluster_without_members_stands_at_zero() -> None:
    """Of equal points the first centroid takes all; the others have none."""
    features = torch.cat([torch.full((5, 2), 4.0), torch.tensor([[9.0, 9.0], [1.0, 0.0]])])
    found = None
    for seed in range(20):
        centroids = k_means(features, 4, keyed_generator(seed, "k"))
        if (centroids == 0).all(1).any():
            found = representatives(features, 4, keyed_generator(seed, "k"))
            break
    assert found is not None
    assert 6 in found.tolist()  # the shortest


def test_distinct_ones_take_the_nearest_that_is_not_taken() -> None:
    """Otherwise equal points, and several centroids at zero, choose the same one."""
    features = torch.cat([torch.full((5, 2), 4.0), torch.tensor([[9.0, 9.0], [1.0, 0.0]])])
    twice = 0
    for seed in range(20):
        chosen = representatives(features, 4, keyed_generator(seed, "k")).tolist()
        apart = representatives(features, 4, keyed_generator(seed, "k"), distinct=True).tolist()
        twice += len(set(chosen)) < 4
        assert len(set(apart)) == 4 and apart[0] == chosen[0]
        assert set(chosen) <= set(apart)
    assert twice > 10


def test_few_points_are_all_taken() -> None:
    features = points(4)
    for clusters in (4, 9):
        assert representatives(features, clusters, keyed_generator(0, "k")).tolist() == [0, 1, 2, 3]
    assert len(representatives(features, 3, keyed_generator(0, "k"))) == 3


def test_of_two_equally_near_the_first_is_taken_whatever_rounding_says() -> None:
    for seed in range(50):
        pair = points(2, 20, seed).float() + 3
        assert representatives(pair, 1, keyed_generator(seed, "k")).tolist() == [0]
