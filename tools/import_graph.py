"""Draw docs/imports.svg: which packages of the library import which.

Packages stand on the levels of the table in docs/design.md. Lines are the imports that no way over
other packages replaces (the transitive reduction), so whatever a package imports lies along lines
from it; the matrix below has every import. The lowest package, which nearly all import, is a bar
without lines. Run it when a test says that imports changed; any browser shows the result.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "imports.svg"

Edge = tuple[str, str]
"""Importing and imported package."""
Place = tuple[float, float]
"""Middle of a box in pixels, from the left and from the top."""

_WIDTH, _ROW, _TOP = 800, 78, 36
_SLOTS = 7
"""Where a box may stand in its row."""
_BOX, _HEIGHT = 96, 32
_CELL, _NAMES = 26, 200
"""Side of a cell of the matrix, and where its columns begin."""
_DARK, _LIGHT, _INK, _FILL = "#1f4e79", "#9fb4c8", "#12263a", "#eef3f8"


def levels() -> dict[str, float]:
    """The level of each package, from the table of docs/design.md."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \| `(\w+)(?:\.py)?` \|", text, re.M)
    return {name: float(level) for level, name in rows}


def imports(packages: Iterable[str]) -> Counter[Edge]:
    """How many modules of one package import another, from the source."""
    known, found = set(packages), Counter[Edge]()
    source = ROOT / "src" / "dance"
    for path in sorted(source.rglob("*.py")):
        package = path.relative_to(source).with_suffix("").parts[0]
        targets = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets |= {f"{node.module}.{alias.name}" for alias in node.names}
        inner = {name.split(".")[1] for name in targets if name.startswith("dance.")}
        found.update((package, other) for other in inner & known - {package} if package in known)
    return found


def reduction(edges: Iterable[Edge]) -> set[Edge]:
    """The edges that no path over other packages replaces; there is no circle."""
    below: dict[str, set[str]] = {}
    for importer, imported in edges:
        below.setdefault(importer, set()).add(imported)

    def reach(name: str) -> set[str]:
        return {far for near in below.get(name, ()) for far in {near, *reach(near)}}

    return {
        (name, near)
        for name, direct in below.items()
        for near in direct
        if not any(near in reach(other) for other in direct - {near})
    }


def curve(start: Place, end: Place) -> tuple[Place, Place, Place, Place]:
    """Bezier points from the lower side of one box to the upper side of another."""
    (x, y), (u, v) = (start[0], start[1] + _HEIGHT / 2), (end[0], end[1] - _HEIGHT / 2)
    return (x, y), (x, (y + v) / 2), (u, (y + v) / 2), (u, v)


def hits(edge: Edge, at: Mapping[str, Place]) -> int:
    """How many boxes of other packages a line would run through."""
    (x, y), _, _, (u, v) = curve(at[edge[0]], at[edge[1]])
    found = set()
    for part in range(1, 40):
        t = part / 40
        across = x + (u - x) * t * t * (3 - 2 * t)
        down = y + (v - y) * (1.5 * t - 1.5 * t * t + t**3)
        found |= {
            name
            for name, (left, top) in at.items()
            if abs(across - left) < _BOX / 2 + 8 and abs(down - top) < _HEIGHT / 2 + 4
        }
    return len(found.difference(edge))


def places(rows: Sequence[Sequence[str]], edges: Sequence[Edge]) -> dict[str, Place]:
    """Where the boxes stand: row by row where lines are short and run through no box."""
    slots = [_WIDTH * (2 * slot + 1) / (2 * _SLOTS) for slot in range(_SLOTS)]

    def row(number: int, chosen: Sequence[float]) -> dict[str, Place]:
        pairs = zip(rows[number], chosen, strict=True)
        return {name: (x, _TOP + _ROW * number) for name, x in pairs}

    def cost(at: Mapping[str, Place]) -> float:
        return sum(abs(at[a][0] - at[b][0]) + 2000 * hits((a, b), at) for a, b in edges)

    found: dict[str, Place] = {}
    for number, names in enumerate(rows):
        first = (_SLOTS - len(names)) // 2
        found |= row(number, slots[first : first + len(names)])
    best = float("inf")
    while (now := cost(found)) < best:
        best = now
        for number, names in enumerate(rows):
            ways = itertools.permutations(slots, len(names))
            found = min((found | row(number, chosen) for chosen in ways), key=cost)
    across = [x for x, _ in found.values()]
    aside = (_WIDTH - min(across) - max(across)) / 2
    return {name: (x + aside, y) for name, (x, y) in found.items()}


def line(edge: Edge, at: Mapping[str, Place]) -> str:
    """The line of an import."""
    start, *others = (f"{x:.0f},{y:.0f}" for x, y in curve(at[edge[0]], at[edge[1]]))
    return (
        f'<path fill="none" stroke="{_DARK}" stroke-width="1.8" d="M{start} C{" ".join(others)}"/>'
    )


def matrix(names: Sequence[str], edges: Iterable[Edge], main: Iterable[Edge], top: float) -> str:
    """Rows import columns; names from the highest level to the lowest."""
    left = _NAMES
    parts = [
        f'<text x="{left - 10}" y="{top - 10:.0f}" text-anchor="end" font-style="italic">'
        "imports →</text>"
    ]
    for number, name in enumerate(names):
        middle = top + _CELL * (number + 0.5)
        across = left + _CELL * (number + 0.5)
        parts += [
            f'<text x="{left - 10}" y="{middle + 5:.0f}" text-anchor="end">{name}</text>',
            f'<text transform="translate({across + 5:.0f},{top - 10:.0f}) rotate(-60)">{name}'
            "</text>",
            f'<rect x="{left}" y="{middle - _CELL / 2:.0f}" width="{_CELL * len(names)}" '
            f'height="{_CELL}" fill="{_FILL if number % 2 else "white"}"/>',
        ]
    for importer, imported in sorted(edges):
        across = left + _CELL * (names.index(imported) + 0.5)
        down = top + _CELL * (names.index(importer) + 0.5)
        color = _DARK if (importer, imported) in main else _LIGHT
        parts.append(
            f'<circle data-import="{importer} {imported}" cx="{across:.0f}" cy="{down:.0f}" r="7" '
            f'fill="{color}"/>'
        )
    return "\n".join(parts)


def box(name: str, text: str, place: Place, width: float = _BOX) -> str:
    """A package."""
    x, y = place
    return (
        f'<g data-package="{name}"><rect x="{x - width / 2:.0f}" y="{y - _HEIGHT / 2:.0f}" '
        f'width="{width:.0f}" height="{_HEIGHT}" rx="6" fill="{_FILL}" stroke="{_DARK}"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{text}</text></g>'
    )


def picture() -> str:
    """The whole of it, as SVG."""
    level = levels()
    edges = imports(level)
    base = min(level, key=level.__getitem__)
    others = sorted(set(level) - {base})
    rows = [
        [name for name in others if level[name] == height]
        for height in sorted({level[name] for name in others}, reverse=True)
    ]
    main = reduction(edge for edge in edges if base not in edge)
    at = places(rows, sorted(main))
    bar = _TOP + _ROW * len(rows) - 14
    absent = [name for name in others if (name, base) not in edges]
    said = f"{base}, imported by all" + (f" but {', '.join(absent)}" if absent else "")
    names = [name for row in rows for name in sorted(row, key=lambda name: at[name])] + [base]
    top = bar + 150
    height = top + _CELL * len(names) + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
            f'font-family="sans-serif" font-size="14" fill="{_INK}">',
            "<title>Imports between the packages of dance</title>",
            f'<rect width="{_WIDTH}" height="{height:.0f}" fill="white"/>',
            *(line(edge, at) for edge in sorted(main)),
            *(box(name, name, place) for name, place in sorted(at.items())),
            box(base, said, (_WIDTH / 2, bar), _WIDTH - 40),
            matrix(names, edges, main, top),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
