"""The interval of paired differences, beside SciPy's and by hand."""

from __future__ import annotations

import pytest
from scipy.stats import ttest_rel

from dance.condensed.statistics import paired


def test_it_is_scipys() -> None:
    first, second = [0.62, 0.65, 0.61, 0.66], [0.60, 0.64, 0.60, 0.63]
    expected = ttest_rel(first, second).confidence_interval(0.95)
    found = paired(first, second)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_two_pairs_by_hand() -> None:
    """Differences 1 and 3: mean 2, standard error 1; t of one degree of freedom is 12.706."""
    found = paired([2.0, 5.0], [1.0, 2.0])
    assert found.mean == 2
    assert (found.low, found.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
