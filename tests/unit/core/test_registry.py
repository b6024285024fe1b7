"""Names to members, found by importing a package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dance.core.errors import ConfigError
from dance.core.registry import Registry

MODULE = (
    "from {package} import FRUIT\n\n@FRUIT.register('{name}')\ndef grow():\n    return '{name}'\n"
)


@pytest.fixture
def fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """A package of two modules, not imported yet."""
    package = "fruit_of_a_test"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(
        f"from dance.core.registry import Registry\nFRUIT = Registry('fruit', '{package}')\n"
    )
    for name in ("pear", "apple"):
        (folder / f"{name}_tree.py").write_text(MODULE.format(package=package, name=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(package).FRUIT
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def test_adding_a_file_adds_a_member(fruit) -> None:
    assert fruit.get("pear")() == "pear"
    assert fruit.names() == ["apple", "pear"]


def test_an_unknown_name_is_met_with_near_ones(fruit) -> None:
    with pytest.raises(ConfigError, match=r"unknown fruit 'aple'; did you mean 'apple'\?"):
        fruit.get("aple")
    with pytest.raises(ConfigError, match="known: apple, pear"):
        fruit.get("zzz")


def test_a_name_that_may_be_unknown_is_looked_up_without_an_error(fruit) -> None:
    assert fruit.find("pear") is fruit.get("pear")
    assert fruit.find("aple") is None


def test_a_name_is_taken_once(fruit) -> None:
    member = fruit.get("pear")
    fruit.register("pear")(member)
    with pytest.raises(ConfigError, match="'pear' is registered twice"):
        fruit.register("pear")(lambda: "another")
    assert fruit.get("pear") is member


def test_a_cell_of_a_notebook_that_runs_again_replaces_its_member(fruit, monkeypatch) -> None:
    def member() -> None: ...

    def again() -> None: ...

    member.__module__ = again.__module__ = "__main__"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)
    fruit.register("plum")(member)
    with pytest.raises(ConfigError, match="'plum' is registered twice"):
        fruit.register("plum")(again)
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    fruit.register("plum")(again)
    assert fruit.get("plum") is again
    with pytest.raises(ConfigError, match="'pear' is registered twice"):
        fruit.register("pear")(again) and fruit.names()
