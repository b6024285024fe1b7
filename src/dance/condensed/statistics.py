"""Mean, standard deviation and confidence interval of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dance.condensed.score import Statistic
from dance.core.rng import keyed_generator

_CONFIDENCE = 0.95
LEAST_UNITS = 3
"""Smallest number of units that can be resampled: a single one is always drawn, and two
can be drawn in three ways only."""
_RESAMPLES = 10_000
_ROUNDING = 1e-24
"""Variance below which values are equal up to rounding; fractions squared."""


def summary(values: Sequence[float]) -> Statistic:
    """Statistics of repeated accuracies.

    Args:
        values: one per trained network, as fractions.

    Returns:
        The statistics; the confidence interval of the mean is that of Student's t, clipped to
        [0, 1].
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Statistic(values=tuple(values), mean=mean, std=0.0, ci95=None)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = _student(count - 1) * std / math.sqrt(count)
    interval = (max(0.0, mean - half), min(1.0, mean + half))
    return Statistic(values=tuple(values), mean=mean, std=std, ci95=interval)


@dataclass(frozen=True)
class Difference:
    """The difference of two means with its confidence interval; fractions.

    Attributes:
        mean: first minus second.
        low: lower end of the interval; the mean if the values do not vary.
        high: upper end of the interval; the mean if the values do not vary.
        level: confidence of the interval.
    """

    mean: float
    low: float
    high: float
    level: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None if the values do not vary, since few values are equal by chance."""
        return (self.low, self.high) if self.low < self.high else None

    @property
    def verdict(self) -> str:
        """Whether the first is better, as far as the interval shows, in words; empty without one.

        The interval is Student's or Welch's: a bootstrap of few units is too narrow, and would call
        equal methods different more often (:func:`bootstrap`).
        """
        if self.interval is None:
            return ""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not shown to differ"


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
    errors, means = [], []
    for values in (first, second):
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        means.append(mean)
        errors.append((squares / (len(values) - 1) / len(values), len(values) - 1))
    mean = means[0] - means[1]
    total = sum(error for error, _ in errors)
    if total < _ROUNDING:
        return Difference(mean, mean, mean, level)
    freedom = total**2 / sum(error**2 / count for error, count in errors)
    half = _student(freedom, level) * math.sqrt(total)
    return Difference(mean, mean - half, mean + half, level)


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The mean of the differences of pairs, such as two methods at the same seeds.

    The interval is that of Student's t over the differences.

    Args:
        first: at least two values.
        second: as many, in the same order.
    """
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    count, mean = len(gaps), math.fsum(gaps) / len(gaps)
    variance = math.fsum((gap - mean) ** 2 for gap in gaps) / (count - 1)
    if variance < _ROUNDING:
        return Difference(mean, mean, mean, _CONFIDENCE)
    half = _student(count - 1) * math.sqrt(variance / count)
    return Difference(mean, mean - half, mean + half, _CONFIDENCE)


def _student(freedom: float, level: float = _CONFIDENCE) -> float:
    """Half the width of Student's interval of a mean, in standard errors of the mean.

    Args:
        freedom: degrees of freedom.
        level: confidence.
    """
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(freedom, (1 + level) / 2))


def bootstrap(groups: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean of the means of groups, by a hierarchical bootstrap.

    Groups are drawn with replacement, then the values of each drawn group; of a single group, only
    values are. The draws are keyed, so equal values give the same interval. It assumes no
    distribution, but is too narrow for few units: it contains the true mean of normal values in
    74 % of all cases for 3 units, 83 % for 5, 91 % for 10 and 93 % for 20, where Student's t keeps
    its 95 % (2,000 simulations each, standard error 1 %). Therefore verdicts use Student's or
    Welch's t. With several groups the values within them count twice, once in the means of the
    groups, which makes up for a part: 81 % for 3 groups of 10 of equal spread within and between.

    Args:
        groups: such as the accuracies of the networks of each condensation.

    Returns:
        Low and high end; None for fewer than three units (groups, or values of a single group).
    """
    if len(groups) == 1:
        groups = [[value] for value in groups[0]]
    if len(groups) < LEAST_UNITS:
        return None
    generator = keyed_generator(0, "bootstrap")
    sizes = torch.tensor([len(group) for group in groups])
    values = torch.zeros(len(groups), int(sizes.max()), dtype=torch.float64)
    for place, group in enumerate(groups):
        values[place, : len(group)] = torch.tensor(group, dtype=torch.float64)
    picks = torch.randint(len(groups), (_RESAMPLES, len(groups)), generator=generator)
    shape = (*picks.shape, values.shape[1])
    chosen = torch.rand(shape, generator=generator, dtype=torch.float64)
    chosen = (chosen * sizes[picks][..., None]).long()
    drawn = values[picks[..., None], chosen]
    counted = torch.arange(shape[-1]) < sizes[picks][..., None]
    means = ((drawn * counted).sum(-1) / sizes[picks]).mean(1)
    ends = torch.tensor([(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], dtype=torch.float64)
    low, high = means.quantile(ends).tolist()
    return low, high
