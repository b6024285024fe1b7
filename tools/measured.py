"""Write src/dance/recipes/measured.yaml: what docs/results has of methods and recipes.

A wheel has no docs, and ``dance list`` shows what was measured, so the tables are read here: those
under a heading such as ``### cifar10, 10 images per class``, whose rows begin with the title of a
method, and those with columns ``recipe``, ``accuracy (%)``, ``networks`` and ``time``. Run it when
a page of docs/results changed; a test says when that is due.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from dance.methods import METHODS
from dance.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "src" / "dance" / "recipes" / "measured.yaml"
_HEADING = re.compile(r"^### ((\w+), (\d+) images? per class.*)$", re.M)
_COLUMNS = {"accuracy (%)": "accuracy", "networks": "networks", "time": "time"}
_ROW = re.compile(r"^\| ([^|(]+?)(?: \([^|]*\))? \|", re.M)


def anchor(heading: str) -> str:
    """The fragment under which a heading is linked: small letters, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(page: str) -> Iterator[tuple[str, int, str, set[str]]]:
    """Data, images per class, heading and first cells of every table that says both."""
    for found in _HEADING.finditer(page):
        body = re.split(r"^#", page[found.end() :], maxsplit=1, flags=re.M)[0]
        yield found[2], int(found[3]), found[1], set(_ROW.findall(body))


def recipes(page: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name, and cells by column, of every row of the tables of recipes."""
    columns: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip().strip("*`") for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = cells
        elif {"recipe", *_COLUMNS} <= set(columns) and not set(line) <= set("|-: "):
            row = dict(zip(columns, cells, strict=True))
            yield row["recipe"], row


def text() -> str:
    """The content of the file: tables with their methods, and recipes with their numbers."""
    names = {METHODS.get(name).title: name for name in METHODS.names()}
    tables, rows = ["tables:"], ["recipes:"]
    for path in sorted((ROOT / "docs" / "results").glob("*.md")):
        page = path.read_text(encoding="utf-8")
        for data, ipc, heading, titles in sections(page):
            methods = ", ".join(sorted(names[title] for title in titles & names.keys()))
            tables += [
                f"  docs/results/{path.name}#{anchor(heading)}:",
                f"    data: {data}",
                f"    ipc: {ipc}",
                f"    methods: [{methods}]",
            ]
        for name, row in recipes(page):
            rows += [
                f"  {RECIPES.get(name).name}:",
                *(
                    f"    {key}: {json.dumps(row[column], ensure_ascii=False)}"
                    for column, key in _COLUMNS.items()
                ),
                f"    page: docs/results/{path.name}",
            ]
    opening = "# Written by tools/measured.py from the tables in docs/results."
    return "\n".join([opening, *tables, *(rows if len(rows) > 1 else ["recipes: {}"])]) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
