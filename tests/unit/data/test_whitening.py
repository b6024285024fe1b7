"""Whitening against its formula in float64, and that it comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import dance.data.whitening as whitening_module
from dance.core.errors import ConfigError
from dance.data import load
from dance.data.whitening import Whitening, fit, fit_cached


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return load("digits", "train").images


def literal(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    x = images.flatten(1).double().numpy() / 255
    mean = x.mean(0)
    u, s, _ = np.linalg.svd((x - mean).T @ (x - mean) / (len(x) - 1))
    return mean, u @ np.diag((s + 0.1) ** -0.5) @ u.T


def test_is_the_formula(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening_module, "_CHUNK_SIZE", 100)
    found, (mean, matrix) = fit(images), literal(images)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.matrix.numpy(), matrix, rtol=0, atol=1e-5)
    white = found.apply(images.float() / 255).flatten(1).double().numpy()
    expected = (images.flatten(1).double().numpy() / 255 - mean) @ matrix
    np.testing.assert_allclose(white, expected, rtol=0, atol=1e-5)


def test_on_standardised_pixels_it_is_the_formula_of_these(images: torch.Tensor) -> None:
    """Three channels of different deviation; DataDAM's released code fits on such pixels."""
    colour = torch.stack([images[:, 0], images[:, 0] // 2, images[:, 0].flip(1)], 1)[:, :, :4, :4]
    mean, std = (0.3, 0.2, 0.25), (0.4, 0.2, 0.3)
    found = fit(colour, std)
    z = colour.double() / 255
    z = (z - torch.tensor(mean).view(3, 1, 1).double()) / torch.tensor(std).view(3, 1, 1).double()
    flat = z.flatten(1).numpy()
    u, s, _ = np.linalg.svd(np.cov(flat.T))
    expected = (flat - flat.mean(0)) @ (u @ np.diag((s + 0.1) ** -0.5) @ u.T)
    white = found.apply(colour.float() / 255)
    np.testing.assert_allclose(white.flatten(1).double().numpy(), expected, rtol=0, atol=2e-5)
    assert ((found.invert(white) * 255).round() == colour).all()


def test_whitened_images_come_back(images: torch.Tensor) -> None:
    found = fit(images)
    some = images[:20].float() / 255
    white = found.apply(some)
    assert white.shape == some.shape
    assert ((found.invert(white) * 255).round() == images[:20]).all()
    again = Whitening.unpack(found.pack())
    assert torch.equal(again.apply(some), white)
    for damaged in (found.pack()[:-1], found.pack().double(), found.pack()[0]):
        with pytest.raises(ConfigError, match="whitening must be"):
            Whitening.unpack(damaged)


def test_it_is_fitted_once_and_fitted_again_when_the_file_is_damaged(
    images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path))
    fits: list[int] = []

    def counted(images: torch.Tensor, std: Sequence[float] | None) -> Whitening:
        fits.append(len(images))
        return fit(images, std)

    monkeypatch.setattr(whitening_module, "fit", counted)
    first = fit_cached(images, "f" * 64)
    assert torch.equal(fit_cached(images, "f" * 64).matrix, first.matrix)
    assert len(fits) == 1
    (path,) = (tmp_path / "whitening").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert torch.equal(fit_cached(images, "f" * 64).matrix, first.matrix)
    assert not torch.equal(fit_cached(images[:500], "f" * 64).matrix, first.matrix)
    assert len(fits) == 3
    assert not torch.equal(fit_cached(images, "f" * 64, (0.25,)).matrix, first.matrix)


def test_large_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 4096 values"):
        fit(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
