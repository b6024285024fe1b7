"""CutMix: its box, what stays of an image, and how often."""

from __future__ import annotations

import math

import pytest
import torch

from dance.augment.cutmix import Mix, apply_mix, draw_mix

RESOLUTION = 16


def keyed_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixes(count: int, resolution: int = RESOLUTION) -> list[Mix]:
    found = [draw_mix(4, resolution, 1.0, keyed_generator(seed)) for seed in range(count)]
    assert None not in found
    return [mix for mix in found if mix is not None]


def test_the_box_comes_from_the_partner_and_nothing_else_changes() -> None:
    images = torch.randn(5, 3, RESOLUTION, RESOLUTION, generator=keyed_generator(0))
    before = images.clone()
    for seed in range(10):
        mix = draw_mix(5, RESOLUTION, 1.0, keyed_generator(seed))
        assert mix is not None
        assert sorted(mix.partner.tolist()) == list(range(5))
        mixed = apply_mix(images, mix)
        top, bottom, left, right = mix.box
        foreign = 0
        for i in range(RESOLUTION):
            for j in range(RESOLUTION):
                inside = top <= i < bottom and left <= j < right
                foreign += inside
                source = images[mix.partner] if inside else images
                assert torch.equal(mixed[:, :, i, j], source[:, :, i, j])
        assert mix.lam == pytest.approx(1 - foreign / RESOLUTION**2, abs=1e-12)
        assert torch.equal(images, before)
        assert mixed.data_ptr() != images.data_ptr()


def test_boxes_lie_within_the_image_and_lams_are_true_areas() -> None:
    for mix in mixes(500):
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= RESOLUTION
        assert 0 <= left <= right <= RESOLUTION
        assert mix.lam == pytest.approx(1 - (bottom - top) * (right - left) / RESOLUTION**2)


@pytest.mark.parametrize("resolution", [15, 16])
def test_areas_are_distributed_as_the_sheet_says(resolution: int) -> None:
    """Sides 2 (int(S sqrt(1-u)) // 2) about a uniform centre pixel, cut at the borders.

    The exact mean of the share, by summing over centres and integrating over u.
    """

    def cut(length: int, centre: int) -> int:
        return min(resolution, centre + length // 2) - max(0, centre - length // 2)

    def squares(power: int) -> float:
        total = 0.0
        for length in range(resolution):  # int(S sqrt(1-u)) = length
            probability = ((length + 1) ** 2 - length**2) / resolution**2
            along = sum(cut(length, c) ** power for c in range(resolution)) / resolution
            total += probability * along**2 / resolution ** (2 * power)
        return total

    lams = torch.tensor([mix.lam for mix in mixes(3000, resolution)], dtype=torch.float64)
    deviation = math.sqrt(squares(2) - squares(1) ** 2)
    assert float(lams.mean()) == pytest.approx(1 - squares(1), abs=4 * deviation / 3000**0.5)
    assert float(lams.std()) == pytest.approx(deviation, rel=0.06)


def test_centres_are_uniform_over_pixels() -> None:
    """A box that touches no border shows its centre: its frequency is that of the others."""
    counts = torch.zeros(2, RESOLUTION)
    small = 0
    for mix in mixes(6000):
        top, bottom, left, right = mix.box
        if bottom - top == right - left == 4 or (bottom - top, right - left) == (2, 2):
            counts[0, (top + bottom) // 2] += 1
            counts[1, (left + right) // 2] += 1
            small += 1
    inner = counts[:, 2:-2]  # where no box of 4 touches a border
    expected = inner.mean(1, keepdim=True)
    chi = ((inner - expected) ** 2 / expected).sum(1)
    assert small > 300
    assert float(chi.max()) < 34  # chi2(11), p = 0.0004


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_probability(probability: float) -> None:
    active = sum(
        draw_mix(4, RESOLUTION, probability, keyed_generator(seed)) is not None
        for seed in range(2000)
    )
    assert abs(active - 2000 * probability) <= 4 * (2000 * probability * (1 - probability)) ** 0.5


def test_partners_are_any_permutation() -> None:
    seen = {tuple(mix.partner.tolist()) for mix in mixes(400)}
    assert len(seen) == math.factorial(4)


def test_mixing_and_its_box_are_independent() -> None:
    """Whether a batch is mixed must not say how large the box is."""
    half = [draw_mix(4, RESOLUTION, 0.5, keyed_generator(seed)) for seed in range(4000)]
    lams = torch.tensor([mix.lam for mix in half if mix is not None], dtype=torch.float64)
    every = torch.tensor([mix.lam for mix in mixes(4000)], dtype=torch.float64)
    error = float(every.std()) * (1 / len(lams) + 1 / len(every)) ** 0.5
    assert abs(float(lams.mean() - every.mean())) < 4 * error
