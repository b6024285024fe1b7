"""A whitened set in its file: what networks eat, what people see, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dance.condensed import CondensedSet, load_set
from dance.condensed.decoders.grid import Grid
from dance.condensed.formats import export
from dance.core.errors import ConfigError
from dance.data import load
from dance.data.normalization import Normalization
from dance.data.whitening import Whitening, fit


@pytest.fixture(scope="module")
def real() -> tuple[torch.Tensor, Whitening]:
    train = load("digits", "train")
    rows = torch.cat([train.rows(label)[:2] for label in range(10)])
    return train.images[rows], fit(train.images)


def made(real: tuple[torch.Tensor, Whitening], **changes: Any) -> CondensedSet:
    images, white = real
    facts = {
        "pixels": white.apply(images.float() / 255),
        "labels": torch.arange(10).repeat_interleave(2),
        "classes": tuple("0123456789"),
        "normalization": Normalization((0.3,), (0.4,), white),
        "space": "normalized",
    }
    return CondensedSet(**{**facts, **changes})


def test_networks_eat_whitened_images_and_people_see_the_others(real: Any) -> None:
    condensed = made(real)
    assert torch.equal(condensed.images(), condensed.pixels)
    assert torch.equal(condensed.to_uint8(), real[0])
    assert torch.equal(condensed.to_uint8(decoded=True), real[0])
    assert condensed.storage_bytes() == 4 * real[0].numel()


def test_stored_images_in_unit_space_are_whitened_for_networks(real: Any) -> None:
    unit = made(real, pixels=real[0].float() / 255, space="unit")
    assert torch.equal(unit.images(), made(real).images())
    assert torch.equal(unit.to_uint8(), real[0])


def test_the_file_holds_the_transform(real: Any, tmp_path: Path) -> None:
    path = tmp_path / "white.safetensors"
    made(real).save(path)
    again = load_set(path)
    assert again.normalization.whitening is not None
    assert torch.equal(again.normalization.whitening.pack(), real[1].pack())
    assert torch.equal(again.pixels, made(real).pixels)
    made(real, normalization=Normalization((0.3,), (0.4,))).save(path)
    assert load_set(path).normalization.whitening is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"normalization": Normalization((0,), (1,), Whitening(torch.zeros(9), torch.eye(9)))},
            r"whitening must be \(65, 64\)",
        ),
        ({"decoder": Grid(2)}, "factor 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(real: Any, changes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(real, **changes)


@pytest.mark.parametrize("kind", ["parquet", "folder", "npz", "pt"])
def test_exports_carry_the_transform(
    kind: str, real: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    condensed = made(real)
    place = tmp_path / f"out.{kind}"
    export(condensed, kind, place)
    if kind == "pt":
        stored = torch.load(place, weights_only=True)
    else:
        with np.load(place if kind == "npz" else place / "whitening.npz") as arrays:
            stored = {name: torch.from_numpy(arrays[name]) for name in arrays if name != "classes"}
    images = stored["images"] if kind in ("npz", "pt") else condensed.to_uint8().float() / 255
    flat = images.flatten(1) - stored["whitening_mean"]
    torch.testing.assert_close(
        flat @ stored["whitening_matrix"], condensed.images().flatten(1), atol=2e-5, rtol=1e-4
    )
    if kind in ("parquet", "folder"):
        assert "whitening.npz contains the transform" in capsys.readouterr().err
    if kind == "parquet":
        card = (place / "README.md").read_text()
        assert "(image - whitening_mean) @ whitening_matrix" in card
        assert "(pixel / 255 - mean)" not in card


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_other_exports_have_none(kind: str, real: Any, tmp_path: Path) -> None:
    plain = made(real, normalization=Normalization((0.3,), (0.4,)))
    export(plain, kind, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("whitening*"))
