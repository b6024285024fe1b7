"""What docs/results has of a method, and of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dance.core.format import plural
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


def measured_recipe(name: str) -> str | None:
    """The measured accuracy and time of a recipe, with their page; None if it was not measured.

    The accuracies are those of the full protocol, which such a recipe shortens.
    """
    facts = _file()["recipes"].get(name)
    if facts is None:
        return None
    return (
        f"accuracy {facts['accuracy']} % by dance-v1 ({plural(int(facts['networks']), 'network')}, "
        f"last epoch; the run itself scores by the shorter quick-v1) after {facts['time']} from "
        f"images to the set, as measured in {facts['page']}"
    )


@cache
def _file() -> Mapping[str, Any]:
    return read_yaml(_FILE)


@cache
def _tables() -> list[tuple[Measurement, tuple[str, ...]]]:
    return [
        (Measurement(facts["data"], facts["ipc"], page), tuple(facts["methods"]))
        for page, facts in _file()["tables"].items()
    ]
