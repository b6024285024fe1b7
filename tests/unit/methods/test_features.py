"""Features of real images: an expert's embeddings, whichever images go through together."""

from __future__ import annotations

import pytest
import torch

from dance.methods.toolkit.coreset import features
from dance.networks import NetworkConfig
from unit.methods.tasks import image_set, task


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_are_the_embeddings_of_standardised_images_in_evaluation_mode(norm, channels) -> None:
    train = image_set((90, 50), channels=channels)
    given = task(train=train, network=NetworkConfig(width=4, depth=1, norm=norm))
    state = given.experts[0][1]
    rows = torch.randperm(140, generator=torch.Generator().manual_seed(0))[:101]
    network = given.network.train()  # it must not matter
    found = features(given, state, rows)
    assert network.training
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(-1, 1, 1)
        for v in (train.normalization.mean, train.normalization.std)
    )
    images = (train.images[rows].double() / 255 - mean) / std
    assert found.shape == (101, given.network.embedding_size)
    torch.testing.assert_close(found, given.network.eval().embed(state, images))


def test_arithmetic_is_of_the_weights_dtype_and_results_are_float64() -> None:
    train = image_set((20, 20))
    given = task(train=train, dtype=torch.float32)
    found = features(given, given.experts[0][1], torch.arange(40))
    assert found.dtype == torch.float64
    assert torch.equal(found, found.float().double())
    none = features(given, given.experts[0][1], torch.arange(0))
    assert none.shape == (0, given.network.embedding_size)


def test_an_image_has_the_same_features_in_any_company() -> None:
    """Copies of an image are ties, which the selection breaks by their order."""
    given = task(
        train=image_set((150, 20), resolution=16),
        network=NetworkConfig(width=16, depth=2),
        dtype=torch.float32,
    )
    rows = torch.arange(170)
    whole = features(given, given.experts[0][1], rows)
    for start, stop in ((0, 1), (3, 40), (60, 170)):
        part = features(given, given.experts[0][1], rows[start:stop])
        torch.testing.assert_close(part, whole[start:stop], rtol=1e-5, atol=1e-5)
