"""DD-Ranking's two scores (Li et al. 2025): what is left without soft labels and augmentation.

Both compare a set with a random selection of as many real images that is scored in the same way, so
that what soft labels or augmentation give to any images does not count. The formulas are those of
the project's documentation (arXiv:2505.13300); the trainings are in :mod:`dance.engine.ranking`.
"""

from __future__ import annotations

import math


def label_robust_score(
    whole: float, hard: float, own: float, random: float, weight: float = 0.5
) -> float:
    """The label-robust score, LRS = (e^a - e^-1) / (e - e^-1).

    With HLR = whole - hard (hard label recovery) and IOR = own - random (improvement over random),
    a = weight * IOR - (1 - weight) * HLR.

    Args:
        whole: accuracy of networks that were trained on all real images.
        hard: on the set with hard labels.
        own: on the set with its own labels, hard or soft.
        random: on a random selection of the same size with labels of the same kind.
        weight: of IOR, in [0, 1].

    Returns:
        A fraction in [0, 1]; a set that is as good as the whole and not better than random images
        has 0.27.

    Raises:
        ValueError: an accuracy or the weight is outside of [0, 1].
    """
    _check(whole, hard, own, random, weight)
    return _normalised(weight * (own - random) - (1 - weight) * (whole - hard))


def augmentation_robust_score(
    own: float, random: float, own_plain: float, random_plain: float, weight: float = 0.5
) -> float:
    """The augmentation-robust score, ARS = (e^b - e^-1) / (e - e^-1).

    b = weight * (own - random) + (1 - weight) * (own_plain - random_plain).

    Args:
        own: accuracy of networks that were trained on the set with augmentation.
        random: the same of a random selection of the same size.
        own_plain: on the set without augmentation.
        random_plain: the same of the random selection.
        weight: of the improvement with augmentation, in [0, 1].

    Returns:
        A fraction in [0, 1]; a set that is not better than random images has 0.27.

    Raises:
        ValueError: an accuracy or the weight is outside of [0, 1].
    """
    _check(own, random, own_plain, random_plain, weight)
    return _normalised(weight * (own - random) + (1 - weight) * (own_plain - random_plain))


def _normalised(advantage: float) -> float:
    """From [-1, 1] to [0, 1]; the same as (e^a - e^-1) / (e - e^-1), exact at the ends."""
    return math.expm1(advantage + 1) / math.expm1(2)


def _check(*fractions: float) -> None:
    for value in fractions:
        if not 0 <= value <= 1:
            raise ValueError(f"accuracies and weights must be fractions from 0 to 1: got {value}")
