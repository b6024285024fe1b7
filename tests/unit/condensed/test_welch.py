"""Welch's interval beside SciPy's, and how often honest repetitions pass."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from dance.condensed.statistics import welch


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_it_is_scipys(level: float) -> None:
    draw = np.random.default_rng(3)
    for first, second in ((3, 3), (10, 4), (5, 40)):
        one, two = draw.normal(0.5, 0.1, first), draw.normal(0.45, 0.02, second)
        found = welch(one.tolist(), two.tolist(), level)
        expected = ttest_ind(one, two, equal_var=False).confidence_interval(level)
        assert found.mean == pytest.approx(one.mean() - two.mean())
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_equal_values_have_an_interval_of_one_point() -> None:
    found = welch([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)


def test_honest_repetitions_pass_99_times_of_100() -> None:
    """Accuracies of stored rows (docs/results), drawn again with their mean and deviation."""
    draw = np.random.default_rng(0)
    passed = 0
    for number in range(2000):
        mean, std = [(0.975, 0.004), (0.935, 0.009), (0.679, 0.003), (0.452, 0.011)][number % 4]
        one, two = (draw.normal(mean, std, size).tolist() for size in (10, 3 + number % 8))
        found = welch(one, two, 0.99)
        passed += found.low <= 0 <= found.high
    assert passed / 2000 >= 0.985
