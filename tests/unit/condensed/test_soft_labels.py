"""A learned rate and soft labels in a set, in its file and in what reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from dance.condensed import CondensedSet, load_set
from dance.condensed.container import KIND
from dance.core.errors import ArtifactError, ConfigError
from dance.core.storage import read_tensors, write_tensors
from unit.condensed.test_container import make, same


def soft(images: int = 24, classes: int = 3) -> torch.Tensor:
    draws = torch.randn(images, classes, generator=torch.Generator().manual_seed(1))
    return draws.softmax(1)


def full(**changes: Any) -> CondensedSet:
    return make(**({"soft_labels": soft(), "learning_rate": 0.0123} | changes))


@pytest.mark.parametrize(
    "changes", [{}, {"learning_rate": None}, {"soft_labels": None}], ids=["both", "soft", "rate"]
)
def test_saved_is_loaded(tmp_path: Path, changes: dict[str, Any]) -> None:
    condensed = full(**changes)
    condensed.save(tmp_path / "x")
    assert same(load_set(tmp_path / "x"), condensed)
    assert read_tensors(tmp_path / "x", KIND)[1]["format"] == 2


def test_a_set_without_them_is_the_file_that_it_was(tmp_path: Path) -> None:
    """An older library reads it, and an older file is read."""
    make().save(tmp_path / "x")
    tensors, header = read_tensors(tmp_path / "x", KIND)
    assert set(tensors) == {"pixels", "labels"} and header["format"] == 1
    assert set(header) == {
        "format", "decoder", "space", "normalisation", "classes", "images_per_class", "shape",
        "provenance", "scores",
    }  # fmt: skip
    held = load_set(tmp_path / "x")
    assert held.learning_rate is None and held.soft_labels is None


def test_soft_labels_count_four_bytes_a_number() -> None:
    assert make().storage_bytes() == 3 * 2 * 3 * 6 * 6
    assert full().storage_bytes() == 3 * 2 * 3 * 6 * 6 + 4 * 24 * 3
    assert full().hard().storage_bytes() == make().storage_bytes()


def test_without_soft_labels() -> None:
    condensed = full()
    assert same(condensed.hard(), replace(condensed, soft_labels=None))
    assert condensed.soft_labels is not None, "the set itself keeps them"
    assert make().hard().soft_labels is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"soft_labels": soft(6)}, r"soft labels must be \(24, 3\).*got \(6, 3\)"),
        ({"soft_labels": soft(classes=4)}, r"got \(24, 4\)"),
        ({"soft_labels": soft().double()}, "float64"),
        ({"soft_labels": soft().log()}, "probabilities"),
        ({"soft_labels": soft() * 1.01}, "summing to 1"),
        ({"soft_labels": soft() * torch.nan}, "probabilities"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"learning_rate": "0.1"}, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        full(**changes)


def test_a_file_with_labels_that_do_not_fit_is_refused(tmp_path: Path) -> None:
    full().save(tmp_path / "x")
    tensors, header = read_tensors(tmp_path / "x", KIND)
    write_tensors(tmp_path / "x", tensors | {"soft_labels": soft(3)}, header, KIND)
    with pytest.raises(ArtifactError, match=r"no usable .*soft labels"):
        load_set(tmp_path / "x")
    write_tensors(tmp_path / "x", tensors, header | {"learning_rate": "fast"}, KIND)
    with pytest.raises(ArtifactError, match=r"no usable .*learning rate"):
        load_set(tmp_path / "x")


@pytest.mark.parametrize("augment", [None, "color_flip"])
def test_a_loader_gives_each_image_its_own_distribution(augment: str | None) -> None:
    condensed = full()
    loader = DataLoader(condensed.dataset(augment), batch_size=24, generator=torch.Generator())
    images, labels = next(iter(loader))
    assert images.shape == (24, 3, 6, 6)
    assert torch.equal(labels, condensed.soft_labels)
    items = condensed.hard().dataset(augment)
    assert [items[index][1] for index in range(24)] == condensed.targets().tolist()
