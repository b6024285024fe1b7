"""Losses against what the equations say, on numbers that a person can check."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.core.errors import ConfigError
from dance.objectives.attention import spatial_attention
from dance.objectives.calibration import class_cross_entropy
from dance.objectives.kernel import discrepancy
from dance.objectives.moments import class_means, mean_distance


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4))
def test_class_means(sizes: list[int], length: int) -> None:
    features = numbers(sum(sizes), length)
    found = class_means(features, sizes)
    start = 0
    for k, size in enumerate(sizes):
        for d in range(length):
            mean = sum(features[start + i, d].item() for i in range(size)) / size
            assert found[k, d].item() == pytest.approx(mean, rel=1e-12, abs=1e-12)
        start += size


def test_class_means_of_features_that_are_a_view() -> None:
    features = numbers(3, 6).T  # not contiguous
    assert not features.is_contiguous()
    expected = torch.stack([features[:2].mean(0), features[2:4].mean(0), features[4:].mean(0)])
    torch.testing.assert_close(class_means(features, [2, 2, 2]), expected)


def test_mean_distance_sums_over_features_and_keeps_classes_apart() -> None:
    real = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    synthetic = torch.tensor([[1.0, 0.0, 6.0], [0.5, 0.0, -1.0]])
    assert mean_distance(real, synthetic).tolist() == [13.0, 1.25]


def test_gradient_of_the_alignment_is_eq_4s() -> None:
    """dL/ds_i = -2 (mean real - mean synthetic) / n of the class."""
    real, synthetic = numbers(7, 4), numbers(5, 4, seed=1).requires_grad_()
    loss = mean_distance(class_means(real, [3, 4]), class_means(synthetic, [2, 3])).sum()
    loss.backward()
    for own, sizes in ((slice(0, 2), (slice(0, 3), 2)), (slice(2, 5), (slice(3, 7), 3))):
        theirs, count = sizes
        difference = real[theirs].mean(0) - synthetic.detach()[own].mean(0)
        expected = (-2 * difference / count).expand(count, -1)
        torch.testing.assert_close(synthetic.grad[own], expected, rtol=1e-12, atol=1e-12)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0.1, 30))
def test_cross_entropy_is_the_mean_over_each_class(sizes: list[int], spread: float) -> None:
    logits = numbers(sum(sizes), 4) * spread
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    found = class_cross_entropy(logits, labels, sizes)
    start = 0
    for k, size in enumerate(sizes):
        total = 0.0
        for row in logits[start : start + size].tolist():
            top = max(row)
            total += math.log(sum(math.exp(x - top) for x in row)) + top - row[k]
        assert found[k].item() == pytest.approx(total / size, rel=1e-10, abs=1e-12)
        start += size


def test_cross_entropy_of_an_expert_without_opinion_is_log_k() -> None:
    found = class_cross_entropy(torch.zeros(4, 10), torch.tensor([2, 2, 5, 5]), [2, 2])
    torch.testing.assert_close(found, torch.full((2,), math.log(10)))


def test_cross_entropy_takes_the_labels_given_not_the_places() -> None:
    """A chunk of classes starts anywhere: its first class is not class 0."""
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    assert class_cross_entropy(logits, torch.tensor([0, 2]), [1, 1]).max() < 1e-3
    assert class_cross_entropy(logits, torch.tensor([1, 1]), [1, 1]).min() > 8


@pytest.mark.parametrize("kernel", ["gaussian", "linear", "polynomial", "laplace"])
def test_discrepancy_is_its_sum_over_pairs(kernel: str) -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    synthetic = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64) + 0.5

    def value(a: torch.Tensor, b: torch.Tensor, bandwidth: float) -> float:
        squared, product = float(((a - b) ** 2).sum()), float((a * b).sum())
        if kernel == "gaussian":
            return sum(math.exp(-squared / (bandwidth * m)) for m in (0.25, 0.5, 1, 2, 4))
        if kernel == "laplace":
            return sum(math.exp(-rate * squared) for rate in (0.1, 1, 5))
        return product if kernel == "linear" else (product + 1) ** 2

    found = discrepancy(real, synthetic, kernel)  # type: ignore[arg-type]
    for c in range(2):
        rows = [*real[c], *synthetic[c]]
        apart = [float(((a - b) ** 2).sum()) for a in rows for b in rows]
        bandwidth = sum(apart) / (9 * 8)
        sums = [
            sum(value(a, b, bandwidth) for a in x for b in y) / (len(x) * len(y))
            for x, y in ((real[c], real[c]), (real[c], synthetic[c]), (synthetic[c], synthetic[c]))
        ]
        assert float(found[c]) == pytest.approx(sums[0] - 2 * sums[1] + sums[2], rel=1e-12)


def test_discrepancy_of_equal_sides_is_zero_and_of_equal_rows_too() -> None:
    rows = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(1))
    assert abs(float(discrepancy(rows, rows, "gaussian"))) < 1e-6
    same = torch.ones(1, 3, 4, requires_grad=True)
    found = discrepancy(torch.ones(1, 2, 4), same, "gaussian")
    (gradient,) = torch.autograd.grad(found.sum(), same)
    assert float(found.detach()) == 0
    assert bool(gradient.isfinite().all())


def test_discrepancy_keeps_its_digits_far_from_the_origin() -> None:
    """In float32, |a|^2 + |b|^2 - 2<a,b> would lose what a shift of both sides adds."""
    generator = torch.Generator().manual_seed(2)
    real, synthetic = (
        torch.randn(1, 8, 5, generator=generator),
        torch.randn(1, 4, 5, generator=generator),
    )
    exact = discrepancy(real.double(), synthetic.double(), "gaussian")
    moved = discrepancy(real + 1000, synthetic + 1000, "gaussian")
    assert float(moved) == pytest.approx(float(exact), rel=1e-3)


def test_an_unknown_kernel_names_the_nearest() -> None:
    rows = torch.ones(1, 2, 3)
    with pytest.raises(ConfigError, match="unknown kernel 'gausian'; did you mean 'gaussian'"):
        discrepancy(rows, rows, "gausian")  # type: ignore[arg-type]


@pytest.mark.parametrize("power", [1, 2, 4])
def test_attention_has_length_one_and_follows_the_channels(power: int) -> None:
    maps = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0)).double()
    found = spatial_attention(maps, power)
    assert found.shape == (3, 10)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3).double())
    place = sum(abs(float(maps[1, c, 1, 3])) ** power for c in range(4))
    first = sum(abs(float(maps[1, c, 0, 0])) ** power for c in range(4))
    assert float(found[1, 8] / found[1, 0]) == pytest.approx(place / first, rel=1e-12)


def test_attention_of_a_layer_that_sees_nothing_is_zero_with_a_gradient() -> None:
    maps = torch.zeros(1, 2, 3, 3, requires_grad=True)
    found = spatial_attention(maps, 1)
    (gradient,) = torch.autograd.grad(found.sum(), maps)
    assert bool((found == 0).all())
    assert bool(gradient.isfinite().all())
