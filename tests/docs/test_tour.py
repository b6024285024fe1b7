"""The tour names symbols that there are, of every package, in the files that it links."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import dance.api  # noqa: F401  (some libraries draw globally while they are imported)
from architecture.source import ROOT
from architecture.test_layers import LAYERS

TEXT = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`(dance(?:\.\w+)+)`", TEXT)))


def symbol(name: str) -> object:
    """The module, class, function, method or field of a dotted name.

    Raises:
        AttributeError: there is none.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if inspect.isclass(found) and part in inspect.get_annotations(found):
                return found
            found = getattr(found, part)
        return found
    raise AttributeError(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_symbol_is_there(name: str) -> None:
    symbol(name)


@pytest.mark.parametrize("name", ["dance.core.rng.no_such", "dance.nothing.here", "dance.run"])
def test_a_symbol_that_is_gone_is_noticed(name: str) -> None:
    with pytest.raises(AttributeError):
        symbol(name)


def test_every_package_is_on_the_way() -> None:
    packages = {name for name in LAYERS if name not in ("", "__main__")}
    assert {name.split(".")[1] for name in NAMES} == packages


def test_every_stop_names_a_symbol_of_the_files_that_it_links() -> None:
    for stop in TEXT.split("\n## ")[1:]:
        named = re.findall(r"`(dance(?:\.\w+)+)`", stop)
        homes = {Path(inspect.getfile(_home(symbol(name)))).resolve() for name in named}
        for link in re.findall(r"\]\(\.\./(src/[\w/]+\.py)\)", stop):
            assert (ROOT / link).resolve() in homes, f"{stop.splitlines()[0]}: {link}"


def _home(found: object) -> type:
    """What says in which file a symbol is."""
    if inspect.isclass(found) or inspect.isfunction(found) or inspect.ismodule(found):
        return found  # type: ignore[return-value]
    return type(found)
