"""The statistics of a bench, against numbers by hand."""

from __future__ import annotations

import math

import pytest

from dance.bench.outcome import Spread, verdict


def test_two_spreads_are_told_apart() -> None:
    """Means 0.5 and 0.7; deviations within the sets 0.1 (two networks) and 0.2 (two networks)."""
    a, b = 0.1 / math.sqrt(2), 0.2 / math.sqrt(2)
    found = Spread({0: (0.5 - a, 0.5 + a), 1: (0.7 - b, 0.7 + b)})
    assert found.mean == pytest.approx(0.6)
    assert found.over_condensations == pytest.approx(0.2 / math.sqrt(2))
    assert found.over_networks == pytest.approx(math.sqrt((0.01 + 0.04) / 2))
    interval, over = found.interval
    assert over == "condensations"
    assert interval == pytest.approx((max(0, 0.6 - 12.7062 * 0.1), 1.0), abs=1e-4)


def test_what_one_set_and_one_network_can_say() -> None:
    one = Spread({0: (0.4, 0.6)})
    assert one.over_condensations is None
    assert one.over_networks == pytest.approx(0.2 / math.sqrt(2))
    assert one.interval[1] == "networks"
    single = Spread({0: (0.4,)})
    assert single.over_networks is None and single.interval == (None, "")
    assert single.minus(single) == (None, "")


def test_differences_are_paired_over_common_seeds() -> None:
    """Large spread over seeds, small one of the differences: 0.02, 0.03, 0.01 (s.e. 0.00577)."""
    first = Spread({0: (0.50, 0.52), 1: (0.70, 0.72), 2: (0.30, 0.32), 9: (0.0, 0.0)})
    second = Spread({2: (0.32, 0.32), 1: (0.74, 0.74), 0: (0.53, 0.53)})
    gap, over = second.minus(first)
    assert gap is not None and over == "condensations"
    assert gap.mean == pytest.approx(0.02)
    assert gap.low == pytest.approx(0.02 - 4.30265 * 0.01 / math.sqrt(3), abs=1e-5)
    assert verdict(gap) == "not shown to differ"


def test_one_seed_is_compared_over_networks() -> None:
    gap, over = Spread({0: (0.6, 0.61, 0.62)}).minus(Spread({0: (0.5, 0.51, 0.52)}))
    assert over == "networks" and gap is not None and verdict(gap) == "better"
    gap, _ = Spread({0: (0.5, 0.51, 0.52)}).minus(Spread({0: (0.6, 0.61, 0.62)}))
    assert verdict(gap) == "worse" and verdict(None) == ""


def test_sets_of_different_seeds_are_not_compared() -> None:
    assert Spread({0: (0.6, 0.7), 1: (0.6, 0.7)}).minus(Spread({0: (0.5, 0.6)})) == (None, "")
