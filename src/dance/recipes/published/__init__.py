"""Published numbers, one YAML file for each table, with where they are from and what is wrong.

Every file says of its table: ``paper``, ``cite`` (how a sentence names it), ``quantity``,
``protocol``, ``statistic``, known ``errata``, and by method, or by method and data, the ``origins``
of rows that the paper took from elsewhere. ``rows`` holds the numbers as printed, nested by
``keys``; ``fixed`` holds what is the same for all. A cell that the paper leaves empty is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dance.core.errors import ConfigError, nearest
from dance.core.yaml_file import read_yaml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Number:
    """One number of a table.

    Attributes:
        where: what it belongs to, such as method, data and ipc (``all`` for a whole set).
        mean: as printed, in the table's unit.
        std: standard deviation as printed; None where the table has none.
    """

    where: Mapping[str, str | int]
    mean: float
    std: float | None = None

    def __str__(self) -> str:
        """Mean and deviation.

        >>> str(Number({}, 70.8, 0.2)), str(Number({}, 82.0))
        ('70.8 ± 0.2', '82.0')
        """
        return f"{self.mean}" if self.std is None else f"{self.mean} ± {self.std}"


@dataclass(frozen=True)
class Table:
    """One published table.

    Attributes:
        paper: title, authors, venue.
        cite: how a sentence names the table.
        quantity: what the numbers are, with their unit.
        protocol: how they were measured, as far as known.
        statistic: over what they are taken, and whether anything was chosen on test data.
        errata: what is known to be wrong or misleading in it.
        origins: by method, or by method and data: where rows that are not the paper's are from.
        numbers: all of them, in the order of the file.
    """

    paper: str
    cite: str
    quantity: str
    protocol: str
    statistic: str
    errata: tuple[str, ...]
    origins: Mapping[str, str | Mapping[str, str]]
    numbers: tuple[Number, ...]

    def select(self, **where: str | int) -> list[Number]:
        """The numbers that belong to what is given, such as ``method="dm", data="cifar10"``."""
        return [
            number
            for number in self.numbers
            if all(number.where[key] == value for key, value in where.items())
        ]

    def source(self, method: str, data: str) -> str:
        """The table and, where the row is from elsewhere, its origin: the end of a sentence."""
        origin = self.origins.get(method, "")
        if not isinstance(origin, str):
            origin = origin.get(data, "")
        return f"{self.cite}, {origin}" if origin else self.cite


def names() -> list[str]:
    """The tables that there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def table(name: str) -> Table:
    """The table in ``<name>.yaml`` of this package.

    Raises:
        ConfigError: no such table.
    """
    if name not in names():
        raise ConfigError(f"unknown table {name!r}{nearest(name, names())}")
    plain = read_yaml(_FOLDER / f"{name}.yaml")
    rows, keys, fixed = plain.pop("rows"), plain.pop("keys"), plain.pop("fixed", {})
    numbers = tuple(_numbers(rows, keys, fixed))
    return Table(**{**plain, "errata": tuple(plain["errata"]), "numbers": numbers})


def _numbers(rows: Any, keys: Sequence[str], where: Mapping[str, str | int]) -> Iterator[Number]:
    """The numbers of nested rows, one level of nesting for each key."""
    if not keys:
        yield Number(where, *map(float, rows if isinstance(rows, list) else [rows]))
        return
    for value, inner in rows.items():
        yield from _numbers(inner, keys[1:], {**where, keys[0]: value})
