"""Real batches by class: what a pass contains, and that a step alone decides its batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.data.imageset import ImageSet
from dance.data.normalization import Normalization
from dance.data.sampler import ClassSampler


def labelled(sizes: list[int]) -> ImageSet:
    """Classes of the given sizes, whose rows are mixed."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    names = tuple(map(str, range(len(sizes))))
    return ImageSet(images, labels, names, Normalization((0.5,), (0.5,)), "", "", "")


@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    batch=st.integers(0, 12),
    seed=st.integers(0, 50),
)
def test_every_pass_is_without_replacement_and_drops_the_rest(
    sizes: list[int], batch: int, seed: int
) -> None:
    train = labelled(sizes)
    sampler = ClassSampler(train, batch, seed)
    expected = [min(batch, n) if batch else n for n in sizes]
    assert sampler.sizes() == expected
    for label, (n, size) in enumerate(zip(sizes, expected, strict=True)):
        per_pass = n // size
        own = set(train.rows(label).tolist())
        for turn in range(2):
            steps = range(turn * per_pass, (turn + 1) * per_pass)
            batches = [sampler.rows(label, step).tolist() for step in steps]
            assert all(len(rows) == size for rows in batches)
            seen = [row for rows in batches for row in rows]
            assert len(set(seen)) == len(seen) == per_pass * size
            assert set(seen) <= own


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=1, max_size=30),
    seed=st.integers(0, 50),
)
def test_a_step_alone_decides_its_batch(steps: list[tuple[int, int]], seed: int) -> None:
    """Any order of classes and steps, any sampler that was read before or not."""
    train = labelled([11, 4, 7])
    used = ClassSampler(train, 3, seed)
    for label, step in steps:
        fresh = ClassSampler(train, 3, seed)
        assert torch.equal(used.rows(label, step), fresh.rows(label, step))


def test_passes_classes_and_seeds_have_orders_of_their_own() -> None:
    train = labelled([500, 500])

    def places(seed: int, label: int, turn: int) -> list[int]:
        """The order of a pass of two batches, as places within the class."""
        sampler = ClassSampler(train, 250, seed)
        rows = torch.cat([sampler.rows(label, 2 * turn + half) for half in range(2)])
        return torch.searchsorted(train.rows(label), rows).tolist()

    orders = [
        places(seed, label, turn) for seed in range(2) for label in range(2) for turn in range(3)
    ]
    for number, order in enumerate(orders):
        assert sorted(order) == list(range(500))
        assert order != list(range(500))
        for other in orders[:number]:
            same = sum(a == b for a, b in zip(order, other, strict=True))
            assert same < 10  # 1 is expected of independent orders


@pytest.mark.parametrize("batch", [0, 5, 6])
def test_a_class_that_is_read_whole_keeps_the_order_of_the_set(batch: int) -> None:
    """Nothing is drawn, so sums over the class have the same bytes at every step."""
    train = labelled([5, 4])
    sampler = ClassSampler(train, batch, 3)
    for step in range(3):
        assert sampler.batch(step).tolist() == [*train.rows(0).tolist(), *train.rows(1).tolist()]
        assert torch.equal(sampler.rows(1, step), train.rows(1))


def test_three_batches_of_128_from_500_images() -> None:
    """The 116 left out of a pass are others in the next: over passes all images are read alike."""
    train = labelled([500])
    sampler = ClassSampler(train, 128, 0)
    counts = torch.zeros(500)
    for step in range(3 * 200):
        counts[sampler.rows(0, step)] += 1
    assert counts.sum() == 128 * 3 * 200
    # per image binomial(200, 0.768): mean 153.6, deviation 6
    assert float((counts - 153.6).abs().max()) < 4.5 * 6
    assert float(counts.std()) == pytest.approx(200**0.5 * (0.768 * 0.232) ** 0.5, rel=0.15)


@pytest.mark.parametrize("batch", [0, 5, 6, 128])
def test_a_class_not_larger_than_a_batch_gives_all_of_itself(batch: int) -> None:
    train = labelled([5, 9])
    sampler = ClassSampler(train, batch, 0)
    for step in (0, 1, 17):
        assert sorted(sampler.rows(0, step).tolist()) == train.rows(0).tolist()
