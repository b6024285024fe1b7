"""Mean, standard deviation and confidence interval of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
