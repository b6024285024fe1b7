"""Mean, standard deviation and confidence interval of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dance.condensed.score import Statistic

_CONFIDENCE = 0.95


def summary(values: Sequence[float]) -> Statistic:
    """Statistics of repeated accuracies.

    Args:
        values: one per trained network, as fractions.

    Returns:
        The statistics; the confidence interval of the mean is that of Student's t, clipped to
        [0, 1].
    """
    from scipy.special import stdtrit  # slow to import

    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Statistic(values=tuple(values), mean=mean, std=0.0, ci95=None)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, (1 + _CONFIDENCE) / 2)) * std / math.sqrt(count)
    interval = (max(0.0, mean - half), min(1.0, mean + half))
    return Statistic(values=tuple(values), mean=mean, std=std, ci95=interval)


@dataclass(frozen=True)
class Difference:
    """The difference of two means with its confidence interval; fractions.

    Attributes:
        mean: first minus second.
        low: lower end of the interval.
        high: upper end of the interval.
        level: confidence of the interval.
    """

    mean: float
    low: float
    high: float
    level: float


def welch(
    first: Sequence[float], second: Sequence[float], level: float = _CONFIDENCE
) -> Difference:
    """The difference of the means of two independent samples, which may have other variances.

    The interval is that of Welch's t test: with s1^2/n1 and s2^2/n2 the squared standard errors,
    the degrees of freedom are (s1^2/n1 + s2^2/n2)^2 / (s1^4/(n1^2 (n1-1)) + s2^4/(n2^2 (n2-1))).

    Args:
        first: at least two values.
        second: at least two values.
        level: confidence, such as 0.99.
    """
    from scipy.special import stdtrit  # slow to import

    errors, means = [], []
    for values in (first, second):
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        means.append(mean)
        errors.append((squares / (len(values) - 1) / len(values), len(values) - 1))
    mean = means[0] - means[1]
    total = sum(error for error, _ in errors)
    if not total:
        return Difference(mean, mean, mean, level)
    freedom = total**2 / sum(error**2 / count for error, count in errors)
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(total)
    return Difference(mean, mean - half, mean + half, level)


def paired(
    first: Sequence[float], second: Sequence[float], level: float = _CONFIDENCE
) -> Difference:
    """The mean of the differences of pairs, such as two methods at the same seeds.

    The interval is that of Student's t over the differences.

    Args:
        first: at least two values.
        second: as many, in the same order.
        level: confidence, such as 0.99.
    """
    from scipy.special import stdtrit  # slow to import

    gaps = [one - other for one, other in zip(first, second, strict=True)]
    count, mean = len(gaps), math.fsum(gaps) / len(gaps)
    variance = math.fsum((gap - mean) ** 2 for gap in gaps) / (count - 1)
    half = float(stdtrit(count - 1, (1 + level) / 2)) * math.sqrt(variance / count)
    return Difference(mean, mean - half, mean + half, level)
