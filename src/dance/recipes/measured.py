"""The tables in docs/results with measurements of a method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dance.core.yaml_file import read_yaml

_FILE = Path(__file__).with_name("measured.yaml")


@dataclass(frozen=True, order=True)
class Measurement:
    """A table that has a row for the method.

    Attributes:
        data: name of the data set.
        ipc: images per class.
        page: page and heading of the table in the documentation of the repository.
    """

    data: str
    ipc: int
    page: str


def measured(method: str) -> list[Measurement]:
    """The first table for each data set and number of images per class, in ascending order."""
    found: dict[tuple[str, int], Measurement] = {}
    for measurement, methods in _tables():
        if method in methods:
            found.setdefault((measurement.data, measurement.ipc), measurement)
    return sorted(found.values())


@cache
def _tables() -> list[tuple[Measurement, tuple[str, ...]]]:
    return [
        (Measurement(facts["data"], facts["ipc"], page), tuple(facts["methods"]))
        for page, facts in read_yaml(_FILE).items()
    ]
