"""DD-Ranking's scores against their formulas in exact arithmetic, and their range."""

from __future__ import annotations

from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dance.evaluation.ranking import augmentation_robust_score, label_robust_score

FRACTION = st.floats(0, 1)
getcontext().prec = 40


def normalised(advantage: Decimal) -> float:
    """(e^a - e^-1) / (e - e^-1) with 40 digits."""
    low = Decimal(-1).exp()
    return float((advantage.exp() - low) / (Decimal(1).exp() - low))


@given(FRACTION, FRACTION, FRACTION, FRACTION, FRACTION)
def test_against_the_formulas(a: float, b: float, c: float, d: float, weight: float) -> None:
    whole, hard, own, random, w = map(Decimal, (a, b, c, d, weight))
    wanted = normalised(w * (own - random) - (1 - w) * (whole - hard))
    found = label_robust_score(a, b, c, d, weight)
    assert found == pytest.approx(wanted, abs=1e-14) and 0 <= found <= 1
    wanted = normalised(w * (whole - hard) + (1 - w) * (own - random))
    found = augmentation_robust_score(a, b, c, d, weight)
    assert found == pytest.approx(wanted, abs=1e-14) and 0 <= found <= 1


def test_by_hand() -> None:
    """IOR 0.2 and HLR 0.4 weigh -0.1; improvements of 0.2 and 0.4 weigh 0.3."""
    assert label_robust_score(0.9, 0.5, 0.5, 0.3) == pytest.approx(0.2284536, abs=1e-7)
    assert augmentation_robust_score(0.5, 0.3, 0.6, 0.2) == pytest.approx(0.4177920, abs=1e-7)


def test_the_ends_are_exact() -> None:
    assert label_robust_score(1, 0, 0, 1) == 0 and label_robust_score(0, 1, 1, 0) == 1
    assert augmentation_robust_score(0, 1, 0, 1) == 0 and augmentation_robust_score(1, 0, 1, 0) == 1
    assert label_robust_score(0.8, 0.8, 0.8, 0.8) == pytest.approx(0.2689414, abs=1e-7)


def test_percent_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 70\.8"):
        label_robust_score(70.8, 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        augmentation_robust_score(0.5, 0.5, 0.5, 0.5, weight=1.5)
