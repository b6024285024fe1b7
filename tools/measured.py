"""Write src/dance/recipes/measured.yaml: what docs/results has of each method.

A wheel has no docs, and ``dance list methods`` shows what was measured, so the tables are read
here: those under a heading such as ``### cifar10, 10 images per class``, whose rows begin with the
title of a method. Run it when a page of docs/results changed; a test says when that is due.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dance.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "src" / "dance" / "recipes" / "measured.yaml"
_HEADING = re.compile(r"^### ((\w+), (\d+) images? per class.*)$", re.M)
_ROW = re.compile(r"^\| ([^|(]+?)(?: \([^|]*\))? \|", re.M)


def anchor(heading: str) -> str:
    """The fragment under which a heading is linked: small letters, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(page: str) -> Iterator[tuple[str, int, str, set[str]]]:
    """Data, images per class, heading and first cells of every table that says both."""
    for found in _HEADING.finditer(page):
        body = re.split(r"^#", page[found.end() :], maxsplit=1, flags=re.M)[0]
        yield found[2], int(found[3]), found[1], set(_ROW.findall(body))


def text() -> str:
    """The content of the file: by table, its data, images per class and methods."""
    names = {METHODS.get(name).title: name for name in METHODS.names()}
    lines = ["# Written by tools/measured.py from the tables in docs/results."]
    for path in sorted((ROOT / "docs" / "results").glob("*.md")):
        for data, ipc, heading, titles in sections(path.read_text(encoding="utf-8")):
            methods = ", ".join(sorted(names[title] for title in titles & names.keys()))
            lines += [
                f"docs/results/{path.name}#{anchor(heading)}:",
                f"  data: {data}",
                f"  ipc: {ipc}",
                f"  methods: [{methods}]",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
