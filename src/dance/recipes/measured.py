"""What this project has measured of each method, as its pages of results say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dance.core.yaml_file import read_yaml

_FILE = Path(__file__).with_name("measured.yaml")


@dataclass(frozen=True, order=True)
class Measurement:
    """One row of a table.

    Attributes:
        data: name of the data set.
        ipc: images per class.
        page: page of the repository's docs and heading of the table.
    """

    data: str
    ipc: int
    page: str


def measured(method: str) -> list[Measurement]:
    """The first table for each data set and number of images per class, in their order."""
    found: dict[tuple[str, int], Measurement] = {}
    for each, methods in _tables():
        if method in methods:
            found.setdefault((each.data, each.ipc), each)
    return sorted(found.values())


@cache
def _tables() -> list[tuple[Measurement, tuple[str, ...]]]:
    return [
        (Measurement(own["data"], own["ipc"], page), tuple(own["methods"]))
        for page, own in read_yaml(_FILE).items()
    ]
