"""A learned rate and soft labels in a set, in its file and in what reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dance.condensed import CondensedSet, load_set
from dance.condensed.container import KIND
from dance.condensed.formats import export
from dance.condensed.score import Statistic
from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import read_tensors, write_tensors
from unit.condensed.scores import made as made_score
from unit.condensed.test_container import make, same


def soft(images: int = 24, classes: int = 3) -> torch.Tensor:
    generator = torch.randn(images, classes, generator=torch.Generator().manual_seed(1))
    return generator.softmax(1)


def full(**changes: Any) -> CondensedSet:
    return make(**({"soft_labels": soft(), "learning_rate": 0.0123} | changes))


@pytest.mark.parametrize(
    "changes", [{}, {"learning_rate": None}, {"soft_labels": None}], ids=["both", "soft", "rate"]
)
def test_saved_is_loaded(tmp_path: Path, changes: dict[str, Any]) -> None:
    condensed = full(**changes)
    condensed.save(tmp_path / "x")
    assert same(load_set(tmp_path / "x"), condensed)


def test_the_file_of_a_set_without_them_does_not_speak_of_them(tmp_path: Path) -> None:
    make().save(tmp_path / "x")
    tensors, header = read_tensors(tmp_path / "x", KIND)
    assert set(tensors) == {"pixels", "labels"}
    assert set(header) == {
        "format", "origin", "classes", "counts", "space", "decoder", "normalization",
        "provenance", "scores",
    }  # fmt: skip
    stored = load_set(tmp_path / "x")
    assert stored.learning_rate is None and stored.soft_labels is None


def test_soft_labels_count_four_bytes_a_number() -> None:
    assert full().storage_bytes() == make().storage_bytes() + 4 * 24 * 3
    assert full().eight_bit().storage_bytes() == 3 * 2 * 3 * 6 * 6 + 4 * 24 * 3
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


class TestExports:
    """Formats that can hold them do; the others say what they leave out."""

    def test_arrays(self, tmp_path: Path) -> None:
        export(full(), "npz", tmp_path / "x.npz")
        export(full(), "pt", tmp_path / "x.pt")
        with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
            assert np.array_equal(arrays["soft_labels"], soft().numpy())
            assert arrays["learning_rate"] == 0.0123
        parts = torch.load(tmp_path / "x.pt", weights_only=True)
        assert torch.equal(parts["soft_labels"], soft()) and parts["learning_rate"] == 0.0123

    def test_a_set_without_them_is_exported_as_before(self, tmp_path: Path) -> None:
        export(make(), "pt", tmp_path / "x.pt")
        parts = torch.load(tmp_path / "x.pt", weights_only=True)
        assert list(parts) == ["images", "labels", "classes", "mean", "std", "factor"]

    @pytest.mark.draws_globally
    def test_parquet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        datasets = pytest.importorskip("datasets")
        last = [Statistic(values=(x, x), mean=x, std=0.0, ci95=(x, x)) for x in (0.5, 0.75)]
        scores = [made_score(last=last[0]), made_score(last=last[1], labels="soft")]
        export(full(scores=scores), "parquet", tmp_path / "x")
        cache = str(tmp_path / "cache")
        shard = str(tmp_path / "x/data/train-00000-of-00001.parquet")
        for opened in (
            datasets.load_dataset(str(tmp_path / "x"), split="train", cache_dir=cache),
            datasets.load_dataset("parquet", data_files=shard, split="train", cache_dir=cache),
        ):
            assert torch.equal(torch.tensor(opened["soft_label"][:]), soft())
            assert opened["label"][:] == full().targets().tolist()
        card = (tmp_path / "x" / "README.md").read_text()
        assert "learning rate 0.0123 was learned" in card and "`soft_label` holds" in card
        hard, rest = card.split("## Scores with soft labels")
        assert "50.0 ± 0.0" in hard and "75.0" not in hard and "75.0 ± 0.0" in rest

    @pytest.mark.parametrize(
        ("kind", "stored_images", "said"),
        [
            (
                "folder",
                False,
                "has no place for the soft labels and the learned learning rate",
            ),
            ("parquet", False, "left out, since this format has no place for the learned learning"),
            ("dc", True, "has no place for the learned learning rate"),
            ("npz", True, "of the decoded images and not of stored images: the soft labels"),
        ],
    )
    def test_what_is_left_out_is_said(
        self, kind, stored_images, said, tmp_path: Path, capsys
    ) -> None:
        export(full(), kind, tmp_path / "x", stored_images=stored_images)
        assert said in capsys.readouterr().err
        export(make(), kind, tmp_path / "y", stored_images=stored_images)
        assert "left out" not in capsys.readouterr().err
