"""A whitened set in its file: what networks eat, what people see, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dance.condensed import CondensedSet, load_set
from dance.core.errors import ConfigError
from dance.core.files import read_header
from dance.data import load
from dance.data.whitening import Whitening, fit


@pytest.fixture(scope="module")
def real() -> tuple[torch.Tensor, Whitening]:
    train = load("digits", "train")
    rows = torch.cat([train.rows(label)[:2] for label in range(10)])
    return train.images[rows], fit(train.images)


def made(real: tuple[torch.Tensor, Whitening], **changes: Any) -> CondensedSet:
    images, white = real
    facts = {
        "pixels": white.apply(images),
        "labels": torch.arange(10).repeat_interleave(2),
        "classes": tuple("0123456789"),
        "mean": (0.3,),
        "std": (0.4,),
        "space": "whitened",
        "whitening": white.packed(),
    }
    return CondensedSet(**{**facts, **changes})


def test_networks_eat_whitened_images_and_people_see_the_others(real: Any) -> None:
    condensed = made(real)
    assert torch.equal(condensed.images(), condensed.pixels)
    assert torch.equal(condensed.to_uint8(), real[0])
    assert torch.equal(condensed.to_uint8(decoded=True), real[0])
    assert condensed.storage_bytes() == real[0].numel()


def test_the_file_holds_the_transform_and_asks_for_a_reader_that_knows_it(
    real: Any, tmp_path: Path
) -> None:
    path = tmp_path / "white.safetensors"
    made(real).save(path)
    header = read_header(path, "condensed set")
    assert header is not None
    assert header["format"] == 3
    again = load_set(path)
    assert again.whitening is not None
    assert torch.equal(again.whitening, real[1].packed())
    assert torch.equal(again.pixels, made(real).pixels)
    plain = made(real, space="standardised", whitening=None)
    plain.save(path)
    assert read_header(path, "condensed set")["format"] == 1  # type: ignore[index]
    replace(plain, learning_rate=0.1).save(path)
    assert read_header(path, "condensed set")["format"] == 2  # type: ignore[index]
    assert load_set(path).whitening is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"whitening": None}, "must have its whitening"),
        ({"space": "unit"}, "must have its whitening"),
        ({"whitening": torch.zeros(64, 64)}, r"whitening must be \(65, 64\)"),
        ({"factor": 2}, "factor 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(real: Any, changes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(real, **changes)
