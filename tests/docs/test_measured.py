"""What a method says of its measurements is on a page of docs/results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dance.methods import METHODS

PAGES = [page.read_text("utf-8") for page in Path("docs/results").glob("*.md")]


@pytest.mark.parametrize("name", METHODS.names())
def test_every_measurement_is_on_a_page(name: str) -> None:
    method = METHODS.get(name)
    for data, ipc in method.measured:
        command = rf"^dance (condense|bench methods) {data}\b.* --ipc {ipc}\b"
        assert [
            page
            for page in PAGES
            if re.search(command, page, re.M) and f"\n| {method.title}" in page
        ], f"no page in docs/results has {method.title} on {data} at {ipc} images per class"
    assert list(method.measured) == sorted(set(method.measured))
