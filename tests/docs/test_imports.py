"""The picture of the imports has the packages, their levels and the imports that there are."""

from __future__ import annotations

import re
import runpy
from xml.etree import ElementTree

from architecture.source import ROOT, library
from architecture.test_layers import LAYERS

tool = runpy.run_path(str(ROOT / "tools" / "import_graph.py"))
PACKAGES = {name for name in LAYERS if name not in ("", "__main__")}
REDRAW = "run: python tools/import_graph.py"


def shown(attribute: str) -> list[str]:
    """The values of an attribute in the picture."""
    tree = ElementTree.fromstring(tool["PICTURE"].read_text("utf-8"))
    return [node.attrib[attribute] for node in tree.iter() if attribute in node.attrib]


def found() -> set[tuple[str, str]]:
    """Importing and imported packages, as the architecture tests see them."""
    pairs = {
        (module.room, target.split(".")[1])
        for module in library()
        for _, target in module.imports()
        if target.startswith("dance.")
    }
    return {(a, b) for a, b in pairs if a != b and {a, b} <= PACKAGES}


def test_the_page_has_the_levels_that_the_tests_hold_the_code_to() -> None:
    assert tool["levels"]() == {name: LAYERS[name] for name in PACKAGES}


def test_the_picture_has_all_packages() -> None:
    assert sorted(shown("data-package")) == sorted(PACKAGES), REDRAW


def test_the_picture_has_all_imports() -> None:
    drawn = [tuple(edge.split()) for edge in shown("data-import")]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == found() == set(tool["imports"](PACKAGES)), REDRAW


def test_the_page_shows_it() -> None:
    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    assert re.search(r"!\[[^]]+\]\(imports\.svg\)", page)


def test_only_what_a_way_over_others_replaces_is_left_out() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("a", "d"), ("e", "d")]
    assert tool["reduction"](edges) == {("a", "b"), ("b", "c"), ("c", "d"), ("e", "d")}


def test_a_line_through_a_box_is_seen() -> None:
    at = {"a": (100.0, 0.0), "b": (100.0, 100.0), "c": (100.0, 200.0), "d": (300.0, 100.0)}
    assert tool["hits"](("a", "c"), at) == 1
    assert tool["hits"](("a", "b"), at) == 0
    assert tool["hits"](("d", "c"), at) == 0
