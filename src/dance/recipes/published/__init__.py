"""Published numbers, one YAML file for each table, with their origin and known errors.

Each file has the fields of :class:`Table`, and the numbers: ``rows`` contains them as printed,
nested by ``keys``, and ``fixed`` the values of further keys, which are the same for all numbers.
Cells that are empty in the paper are left out.
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
        where: keys and values, such as method, data and ipc (``all`` for a whole set).
        mean: as printed, in the unit of the table.
        std: standard deviation as printed; None if the table has none.
    """

    where: Mapping[str, str | int]
    mean: float
    std: float | None = None

    def __str__(self) -> str:
        """Mean and standard deviation.

        >>> str(Number({}, 70.8, 0.2)), str(Number({}, 82.0))
        ('70.8 ± 0.2', '82.0')
        """
        return f"{self.mean}" if self.std is None else f"{self.mean} ± {self.std}"


@dataclass(frozen=True)
class Table:
    """One published table.

    Attributes:
        paper: title, authors, venue.
        cite: name of the table within a sentence.
        quantity: measured quantity, with its unit.
        protocol: of the measurement, as far as it is known.
        statistic: over which results it is computed, and whether any were chosen on test data.
        errata: known errors and misleading parts.
        origins: by method, or by method and data, the origin of numbers from other papers.
        numbers: in the order of the file.
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
        """The numbers with given values of keys, such as ``method="dm", data="cifar10"``."""
        return [
            number
            for number in self.numbers
            if all(number.where[key] == value for key, value in where.items())
        ]

    def source(self, method: str, data: str) -> str:
        """The table and, if the numbers are from another paper, their origin, as a phrase."""
        origin = self.origins.get(method, "")
        if not isinstance(origin, str):
            origin = origin.get(data, "")
        return f"{self.cite}, {origin}" if origin else self.cite


def names() -> list[str]:
    """Names of all tables."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@cache
def table(name: str) -> Table:
    """Read the table in ``<name>.yaml`` of this package.

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
