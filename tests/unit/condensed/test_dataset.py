"""A condensed set in a DataLoader."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from dance.condensed import CondensedDataset, CondensedSet
from dance.condensed.decoders.grid import Grid
from dance.core.errors import ConfigError
from dance.data.normalization import Normalization


@pytest.fixture
def condensed() -> CondensedSet:
    pixels = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3).repeat_interleave(2)
    normalization = Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    return CondensedSet(pixels, labels, ("a", "b", "c"), normalization, Grid(2))


def epochs(dataset: CondensedDataset, count: int, **options: object) -> list[torch.Tensor]:
    loader = DataLoader(
        dataset,
        batch_size=5,
        generator=torch.Generator().manual_seed(0),
        **options,  # type: ignore[arg-type]
    )
    return [torch.cat([images for images, _ in loader]) for _ in range(count)]


def test_without_augmentation_items_are_the_images(condensed: CondensedSet) -> None:
    dataset = condensed.dataset()
    assert len(dataset) == 24
    image, label = dataset[5]
    assert type(label) is int
    assert label == 0
    assert torch.equal(image, condensed.images()[5])
    batches = list(DataLoader(dataset, batch_size=7, generator=torch.Generator()))
    assert torch.equal(torch.cat([images for images, _ in batches]), condensed.images())
    assert torch.equal(torch.cat([labels for _, labels in batches]), condensed.targets())


def test_the_images_need_no_gradient(condensed: CondensedSet) -> None:
    condensed.pixels.requires_grad_()
    assert not condensed.dataset()[0][0].requires_grad
    assert condensed.images().requires_grad


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing(condensed: CondensedSet, persistent: bool) -> None:
    strategy = "color_crop_cutout_flip"
    alone = epochs(condensed.dataset(strategy, seed=1), 2)
    spread = epochs(
        condensed.dataset(strategy, seed=1), 2, num_workers=2, persistent_workers=persistent
    )
    for ours, theirs in zip(alone, spread, strict=True):
        assert torch.equal(ours, theirs)


def test_every_draw_differs_and_can_be_repeated(condensed: CondensedSet) -> None:
    dataset = condensed.dataset("color", seed=1)
    first, second = epochs(dataset, 2)
    plain = condensed.images()
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(first, plain, strict=True))
    resumed = condensed.dataset("color", seed=1)
    resumed.set_epoch(1)
    assert torch.equal(epochs(resumed, 1)[0], second)
    assert not torch.equal(epochs(condensed.dataset("color", seed=2), 1)[0], first)
    # brightness of items in one batch must differ: the draws are per item
    changes = {round(float(a.mean() - b.mean()), 5) for a, b in zip(first, plain, strict=True)}
    assert len(changes) == len(first)


def test_a_negative_index_is_the_same_item(condensed: CondensedSet) -> None:
    end, same = condensed.dataset("color")[-1], condensed.dataset("color")[23]
    assert torch.equal(end[0], same[0])
    with pytest.raises(IndexError):
        condensed.dataset("color")[24]


def test_an_unknown_augmentation_is_refused_at_once(condensed: CondensedSet) -> None:
    with pytest.raises(ConfigError, match="did you mean 'color'"):
        condensed.dataset("colour_crop")
