"""A file of row numbers, which restricts the training images of a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dance.core.errors import DataError


def read_rows(path: Path, count: int) -> torch.Tensor:
    """Read row numbers.

    Args:
        path: text with one whole number a line, or an ``.npy`` array of integers (n,).
        count: of the training images; rows are numbered from 0 in the order of the data set.

    Returns:
        The rows in rising order, (n,) int64.

    Raises:
        DataError: the file cannot be read, or contains something else, a row twice, or one that the
            set does not have.
    """
    if not path.is_file():
        raise DataError(f"the file of row numbers must exist: there is none at {path}")
    numbers = _from_array(path) if path.suffix == ".npy" else _from_text(path)
    rows = np.sort(numbers)
    if not len(rows):
        raise DataError(f"{path} must hold at least one row number: it is empty")
    if rows[0] < 0 or rows[-1] >= count:
        wrong = rows[0] if rows[0] < 0 else rows[-1]
        raise DataError(
            f"rows in {path} must lie in 0..{count - 1}, those of the training images: got {wrong}"
        )
    if len(twice := rows[1:][rows[1:] == rows[:-1]]):
        raise DataError(f"rows in {path} must differ: {twice[0]} occurs more than once")
    return torch.from_numpy(rows)


def _from_text(path: Path) -> npt.NDArray[np.int64]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be text with one row number a line, or .npy") from error
    numbers = []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not line.strip().isdecimal() or len(line) > 18:
            raise DataError(
                f"{path} must hold one row number a line: line {place} is {line.strip()[:40]!r}"
            )
        numbers.append(int(line))
    return np.array(numbers, dtype=np.int64)


def _from_array(path: Path) -> npt.NDArray[np.int64]:
    try:
        numbers = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} must be an array of whole numbers: {error}") from error
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise DataError(
            f"{path} must be an array of whole numbers (n,): got {numbers.dtype} of shape "
            f"{numbers.shape}"
        )
    rows: npt.NDArray[np.int64] = numbers.astype(np.int64)
    return rows
