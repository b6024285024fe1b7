"""Mean, spread and interval against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dance.condensed.score import Statistic
from dance.condensed.statistics import summary


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_against_scipy(values: list[float]) -> None:
    found = summary(values)
    assert found.values == tuple(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    mean, error = np.mean(values), stats.sem(values)
    if error > 0:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=error)
        wanted = (max(0, low), min(1, high))
        assert found.ci95 == pytest.approx(wanted, abs=1e-9)


def test_by_hand() -> None:
    """Three networks at 0.68, 0.70, 0.75: t(2) = 4.3027."""
    found = summary([0.68, 0.70, 0.75])
    assert found.mean == pytest.approx(0.71)
    assert found.std == pytest.approx(0.0360555)
    assert found.ci95 == pytest.approx((0.71 - 0.0895664, 0.71 + 0.0895664), abs=1e-6)


def test_equal_values_have_no_spread() -> None:
    assert summary([0.1] * 3).std == pytest.approx(0, abs=1e-15)
    assert summary([0.5, 0.5]).ci95 == (0.5, 0.5)


def test_one_value_has_no_interval() -> None:
    assert summary([0.5]) == Statistic(values=(0.5,), mean=0.5, std=0.0, ci95=None)


def test_an_interval_of_shares_stays_between_none_and_all() -> None:
    assert summary([0.98, 1.0]).ci95[1] == 1.0
    assert summary([0.0, 0.02]).ci95[0] == 0.0
