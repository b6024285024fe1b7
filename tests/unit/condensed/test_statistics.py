"""Mean, spread and interval against NumPy and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dance.condensed import statistics
from dance.condensed.score import Statistic
from dance.condensed.statistics import bootstrap, summary
from dance.core.rng import keyed_generator


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


@pytest.mark.parametrize("groups", [[[0.2, 0.5, 0.9, 0.4]], [[0.1, 0.3], [0.5, 0.7, 0.9], [0.4]]])
def test_a_bootstrap_against_all_resamples(groups: list[list[float]]) -> None:
    """All resamples with their odds: values of one group, or groups and then their values."""
    units = groups if len(groups) > 1 else [[value] for value in groups[0]]
    inner = [[np.mean(each) for each in itertools.product(u, repeat=len(u))] for u in units]
    means, odds = [], []
    for drawn in itertools.product(inner, repeat=len(units)):
        for each in itertools.product(*drawn):
            means.append(np.mean(each))
            odds.append(1 / np.prod([len(of) for of in drawn]))
    order = np.argsort(means)
    below = np.cumsum(np.array(odds)[order]) / np.sum(odds)
    ends = [np.array(means)[order][np.searchsorted(below, level)] for level in (0.025, 0.975)]
    assert bootstrap(groups) == pytest.approx(ends, abs=0.015)  # a step of the means


def test_a_bootstrap_is_repeatable_and_needs_three_units() -> None:
    assert bootstrap([[0.1, 0.2, 0.4]]) == bootstrap([[0.1, 0.2, 0.4]])
    assert bootstrap([[0.1, 0.2]]) is None and bootstrap([[0.1, 0.2, 0.3], [0.1, 0.2]]) is None
    assert bootstrap([[0.5] * 4] * 3) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(("count", "least", "most"), [(3, 0.70, 0.78), (10, 0.87, 0.94)])
def test_what_the_bootstrap_covers(
    count: int, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of its docstring, and why verdicts are Student's: 800 samples, error 1 to 2 %."""
    monkeypatch.setattr(statistics, "_RESAMPLES", 1000)
    generator = keyed_generator(0, "test")
    samples = 0.5 + 0.01 * torch.randn(800, count, generator=generator, dtype=torch.float64)
    inside, student = 0, 0
    for sample in samples.tolist():
        low, high = bootstrap([sample]) or (1.0, 0.0)
        inside += low <= 0.5 <= high
        low, high = summary(sample).ci95 or (1.0, 0.0)
        student += low <= 0.5 <= high
    assert least < inside / 800 < most
    assert 0.93 < student / 800 < 0.97
