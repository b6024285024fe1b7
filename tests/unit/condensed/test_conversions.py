"""A set in the types of PyTorch, NumPy and ``datasets``."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from dance.condensed import CondensedSet
from dance.condensed.decoders.grid import Grid
from dance.condensed.formats import export
from dance.core.errors import ConfigError
from dance.data.normalization import Normalization


def made(channels: int = 3, space: str = "unit", soft: bool = False) -> CondensedSet:
    """Six stored images of factor 2 whose pixels leave [0, 1], with two equal names."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(6, channels, 8, 8, generator=generator) * 1.2 - 0.1
    condensed = CondensedSet(
        pixels=pixels if space == "unit" else (pixels - 0.4) / 0.2,
        labels=torch.arange(3).repeat_interleave(2),
        classes=("crane", "crane", "é"),
        normalization=Normalization((0.4,) * channels, (0.2,) * channels),
        decoder=Grid(2),
        space=space,
    )
    if not soft:
        return condensed
    return replace(condensed, soft_labels=torch.rand(24, 3, generator=generator).softmax(1))


@pytest.mark.parametrize("space", ["unit", "normalized"])
@pytest.mark.parametrize("soft", [False, True])
def test_torch_gets_network_input(space: str, soft: bool) -> None:
    condensed = made(space=space, soft=soft)
    condensed.pixels.requires_grad_()
    found = condensed.to_torch()
    assert isinstance(found, TensorDataset) and len(found) == 24
    images, labels = found.tensors
    assert torch.equal(images, condensed.images()) and not images.requires_grad
    assert torch.equal(labels, condensed.soft_labels if soft else condensed.targets())
    image, label = condensed.dataset()[7]
    assert torch.equal(found[7][0], image) and torch.equal(found[7][1], torch.as_tensor(label))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("space", ["unit", "normalized"])
def test_numpy_gets_images_to_look_at(channels: int, space: str) -> None:
    condensed = made(channels, space, soft=True)
    images, labels = condensed.to_numpy()
    assert (images.shape, images.dtype) == ((24, 8, 8, channels), np.uint8)
    assert images.flags.c_contiguous
    assert labels.dtype == np.int64 and labels.tolist() == sorted([0, 1, 2] * 8)
    unit = condensed.decode()[0].numpy().transpose(0, 2, 3, 1)
    assert np.array_equal(images, np.rint(unit.clip(0, 1) * np.float32(255)))
    assert {0, 255} <= set(images.flatten().tolist()), "pixels outside of [0, 1] are clamped"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_datasets_gets_images_and_names(channels: int, soft: bool, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    condensed = made(channels, soft=soft)
    found = condensed.to_hf()
    assert isinstance(found, datasets.Dataset)
    assert isinstance(found.features["image"], datasets.Image)
    assert found.features["label"].names == ["crane", "crane (2)", "é"]
    images, labels = condensed.to_numpy()
    assert found["label"][:] == labels.tolist()
    for row, image in zip(found, images, strict=True):
        assert np.array_equal(
            np.asarray(row["image"]), image.squeeze(2) if channels == 1 else image
        )
    assert ("soft_label" in found.column_names) == soft
    if soft:
        assert np.array_equal(np.float32(found["soft_label"][:]), condensed.soft_labels.numpy())
    export(condensed, "parquet", tmp_path / "out")
    read = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read.features == found.features and list(read) == list(found)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"package datasets.*pip install.*-e '\.\[hf\]'"):
        made().to_hf()
