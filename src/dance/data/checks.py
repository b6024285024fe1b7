"""What every source must hold: labels that are classes, the same classes in both splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dance.core.errors import DataError


def check_same_classes(name: str, train: Sequence[str], test: Sequence[str]) -> None:
    """Refuse splits that name different classes, or the same in another order.

    Raises:
        DataError: they differ; the message says in what.
    """
    if tuple(train) == tuple(test):
        return
    only_train, only_test = sorted(set(train) - set(test)), sorted(set(test) - set(train))
    said = [f"only train has {some(only_train)}"] if only_train else []
    said += [f"only test has {some(only_test)}"] if only_test else []
    raise DataError(
        f"train and test split of {name} must have the same classes: "
        + ("; ".join(said) or "theirs are ordered differently")
    )


def check_range(name: str, split: str, labels: npt.NDArray[np.int64], count: int) -> None:
    """Refuse labels that are no class.

    Raises:
        DataError: a label is negative or too large.
    """
    wrong = labels[(labels < 0) | (labels >= count)]
    if len(wrong):
        raise DataError(
            f"labels of {name} must lie in 0..{count - 1} ({count} classes): the {split} split has "
            f"{len(wrong)} others, such as {int(wrong[0])}"
        )


def check_classes(
    name: str, classes: Sequence[str], train: npt.NDArray[np.int64], least: int, why: str
) -> None:
    """Refuse a set with one class, or with a class of too few train images.

    Args:
        name: what messages call the set.
        classes: K names.
        train: labels of the images that are there to train on, (n,).
        least: how many of them a class must have.
        why: said after that number.

    Raises:
        DataError: fewer than two classes, or than ``least`` images of one.
    """
    if len(classes) < 2:
        found = f"one, {classes[0]!r}" if classes else "none"
        raise DataError(f"a data set must have at least two classes: {name} has {found}")
    counts = np.bincount(train, minlength=len(classes))
    poor = [name for name, held in zip(classes, counts, strict=True) if held < least]
    if poor:
        raise DataError(
            f"every class of {name} must have at least {least} image{'s' * (least > 1)}{why}: too "
            f"few in {some(poor)}; add images or remove the class"
        )


def some(names: Sequence[str]) -> str:
    """Up to five names, quoted, and how many more there are.

    >>> some(["a", "b"])
    "'a', 'b'"
    """
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
