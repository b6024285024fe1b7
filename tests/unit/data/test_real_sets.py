"""Published sets, where DANCE_DATA_ROOT holds complete copies: their known counts and means."""

import os
from pathlib import Path

import pytest
import torch

from dance.data import DataConfig, load

ROOT = os.environ.get("DANCE_DATA_ROOT", "")  # read before the fixtures unset it

PUBLISHED = {
    "cifar10": (50_000, 10_000, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "fashion_mnist": (60_000, 10_000, (0.2860,), (0.3530,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_complete_copy(name):
    if not ROOT or not Path(ROOT, name).is_dir():
        pytest.skip(f"DANCE_DATA_ROOT holds no {name}")
    train_count, test_count, mean, std = PUBLISHED[name]
    config = DataConfig(root=ROOT)
    train, test = load(name, "train", config), load(name, "test", config)
    assert (len(train.labels), len(test.labels)) == (train_count, test_count)
    assert train.counts().unique().tolist() == [train_count // 10]
    assert train.notes == ()
    computed = load(str(Path(ROOT, name).resolve()), "train", config)
    assert computed.normalization.mean == pytest.approx(mean, abs=6e-5)
    assert computed.normalization.std == pytest.approx(std, abs=6e-5)


@pytest.mark.slow
def test_whitening_standardised_pixels_takes_in_more_directions():
    """Eigenvalues of CIFAR-10's covariance above 0.1, which is added to them (whitening.py)."""
    if not ROOT or not Path(ROOT, "cifar10").is_dir():
        pytest.skip("DANCE_DATA_ROOT holds no cifar10")
    train = load("cifar10", "train", DataConfig(root=ROOT))
    covariance = torch.cov((train.images.flatten(1).float() / 255).T).double()
    std = torch.tensor(train.normalization.std, dtype=torch.float64).repeat_interleave(32 * 32)
    standardised = covariance / std[:, None] / std
    above = [int((torch.linalg.eigvalsh(c) > 0.1).sum()) for c in (covariance, standardised)]
    assert above == [129, 771]
