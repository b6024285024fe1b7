"""What the list of methods says was measured is what the pages of docs/results have."""

from __future__ import annotations

import re
import runpy

import pytest

from architecture.source import ROOT
from dance.methods import METHODS
from dance.recipes.measured import measured

tool = runpy.run_path(str(ROOT / "tools" / "measured.py"))


def test_the_file_is_current() -> None:
    assert tool["FILE"].read_text("utf-8") == tool["text"](), "run: python tools/measured.py"


@pytest.mark.parametrize("name", METHODS.names())
def test_every_measurement_is_on_its_page_with_its_command(name: str) -> None:
    for row in measured(name):
        path, _, anchor = row.page.partition("#")
        page = (ROOT / path).read_text("utf-8")
        assert anchor in {
            tool["anchor"](heading) for heading in re.findall(r"^### (.+)$", page, re.M)
        }
        assert f"\n| {METHODS.get(name).title}" in page
        command = rf"^dance (condense|bench methods) {row.data}\b.* --ipc {row.ipc}\b"
        assert re.search(command, page, re.M), f"no command for {row.data} at {row.ipc} in {path}"


def test_sections_without_data_are_no_measurements() -> None:
    page = (
        "### cifar10, 10 images per class, convnet (x)\n\n| method | a |\n|---|--:|\n"
        "| DM (l = 2) | 1 |\n"
        "## Other\n| DC | 1 |\n### M3D's learning rate\n| M3D | 2 |\n"
    )
    ((data, ipc, heading, titles),) = tool["sections"](page)
    assert (data, ipc, "DM" in titles) == ("cifar10", 10, True)
    assert not {"DC", "M3D"} & titles
    assert tool["anchor"](heading) == "cifar10-10-images-per-class-convnet-x"


def test_methods_of_the_library_are_measured() -> None:
    assert len(measured("dance")) >= 6
    assert measured("no such method") == []
