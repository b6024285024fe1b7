"""Published sets, where DANCE_DATA_ROOT holds complete copies: their known counts and means."""

import os
from pathlib import Path

import pytest

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
