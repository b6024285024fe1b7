"""Normalization: the formula, its way back, and its way through a file."""

from __future__ import annotations

import pytest
import torch

from dance.core.errors import ConfigError
from dance.data import load
from dance.data.normalization import Normalization
from dance.data.whitening import fit

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def colour(count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)


def literal(images: torch.Tensor) -> torch.Tensor:
    unit = images.double() / 255
    return torch.stack([(unit[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)


def test_is_the_formula_by_either_way() -> None:
    images, normalization = colour(), Normalization(MEAN, STD)
    expected = literal(images)
    of_bytes = normalization.apply_bytes(images, torch.float64)
    torch.testing.assert_close(of_bytes, expected, rtol=1e-12, atol=1e-12)
    unit = images.double() / 255
    torch.testing.assert_close(normalization.apply(unit), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(normalization.invert(expected), unit, rtol=1e-12, atol=1e-12)
    assert normalization.apply_bytes(images).dtype == torch.float32


def test_gradients_of_images_are_one_over_std() -> None:
    leaf = colour().double().requires_grad_()
    (gradient,) = torch.autograd.grad(Normalization(MEAN, STD).apply(leaf).sum(), leaf)
    assert torch.allclose(gradient, 1 / torch.tensor(STD).double().view(-1, 1, 1).expand(3, 4, 4))


def test_bytes_and_floats_are_whitened_alike_and_come_back() -> None:
    images = load("digits", "train").images
    white = Normalization((0.3,), (0.4,), fit(images))
    some = images[:20]
    found = white.apply_bytes(some)
    assert torch.equal(white.apply(some.float() / 255), found)
    assert ((white.invert(found) * 255).round() == some).all()


@pytest.mark.parametrize("name", ["standardise", "zca", "zca_standardised"])
def test_packed_is_unpacked(name: str) -> None:
    images = load("digits", "train").images
    std = (0.4,) if name == "zca_standardised" else None
    made = Normalization((0.3,), (0.4,), None if name == "standardise" else fit(images, std))
    header, tensors = made.pack()
    assert header["name"] == name
    again = Normalization.unpack(header, {"pixels": torch.zeros(1), **tensors})
    assert (again.mean, again.std) == (made.mean, made.std)
    assert torch.equal(again.apply_bytes(images[:9]), made.apply_bytes(images[:9]))


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ((0.5,), (0.2, 0.2), "one number per channel"),
        ((0.5,), (0.0,), "positive"),
        ((float("nan"),), (1.0,), "mean must hold one finite"),
        ((0.5,), (float("inf"),), "std must hold one finite"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    mean: tuple[float, ...], std: tuple[float, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Normalization(mean, std)
