"""List methods, recipes, datasets, networks, protocols, or the condensed sets of the zoo."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dance.cli.options import Parser, add_json, headline
from dance.cli.output import print_json, print_table
from dance.condensed.locations import zoo
from dance.core import format
from dance.core.errors import ConfigError, nearest
from dance.data.find import present
from dance.data.known import KNOWN
from dance.evaluation.protocol import PROTOCOLS
from dance.methods import METHODS, Coreset
from dance.networks import NETWORKS
from dance.recipes import RECIPES
from dance.recipes.measured import measured

Description = str | Mapping[str, Any]
"""One line about a name, or facts for the cells of a table."""


def _method(name: str) -> Mapping[str, Any]:
    kind = METHODS.get(name)
    method = kind(kind.Config())
    needs = "experts" if method.needs_experts() else "none"
    return {
        "title": kind.title,
        "paper": kind.paper,
        "year": kind.year,
        "kind": "coreset" if issubclass(kind, Coreset) else "condenser",
        "needs": "trajectories" if method.trajectory_epochs() else needs,
        "tested": [asdict(each) for each in measured(name)],
    }


def _dataset(name: str) -> str:
    known = KNOWN.get(name)
    fewest, most = known.train
    train = f"{most}" if fewest == most else f"{fewest}-{most}"
    place = present(known)
    return (
        f"{known.size} px, {known.count} classes, {train} train and {known.test} test images; "
        + (f"here, in {place}" if place else "not here")
    )


KINDS: Mapping[str, tuple[Callable[[], list[str]], Callable[[str], Description]]] = {
    "methods": (METHODS.names, _method),
    "recipes": (RECIPES.names, lambda name: RECIPES.get(name).expect),
    "datasets": (KNOWN.names, _dataset),
    "networks": (NETWORKS.names, lambda name: headline(NETWORKS.get(name))),
    "protocols": (PROTOCOLS.names, lambda name: PROTOCOLS.get(name).source),
    "zoo": (zoo.names, zoo.facts),
}
"""For each kind, functions that return its names, and the description of a name."""


def add_arguments(parser: Parser, argv: Sequence[str]) -> None:
    """Add the arguments of ``dance list``."""
    kind = parser.add_argument(
        "kind", metavar="KIND", nargs="?", help=f"{', '.join(KINDS)} (default: all of them)"
    )
    kind.candidates = list(KINDS)  # type: ignore[attr-defined]
    method = parser.add_argument(
        "--method", metavar="NAME", help="list only recipes of this method"
    )
    method.candidates = METHODS.names()  # type: ignore[attr-defined]
    data = parser.add_argument("--data", metavar="NAME", help="list only recipes for this data set")
    data.candidates = KNOWN.names()  # type: ignore[attr-defined]
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Print the names with their descriptions."""
    if parsed.kind is not None and parsed.kind not in KINDS:
        raise ConfigError(f"unknown kind {parsed.kind!r}{nearest(parsed.kind, KINDS)}")
    wanted = {name: getattr(parsed, name) for name in ("method", "data") if getattr(parsed, name)}
    if wanted and parsed.kind != "recipes":
        raise ConfigError(
            f"--method and --data choose recipes: got {parsed.kind or 'all kinds'}; write dance "
            f"list recipes --{next(iter(wanted))} {next(iter(wanted.values()))}"
        )
    if "method" in wanted:
        METHODS.get(wanted["method"])
    if "data" in wanted:
        KNOWN.get(wanted["data"])
    shown = [parsed.kind] if parsed.kind else list(KINDS)
    found = {}
    for kind in shown:
        names, describe = KINDS[kind]
        found[kind] = {name: describe(name) for name in names() if _chosen(name, wanted)}
    if parsed.json:
        print_json(found)
        return
    for kind, members in found.items():
        if kind == "recipes" and not members:
            print(f"no recipe has {' and '.join(f'{key} {name}' for key, name in wanted.items())}")
            continue
        if kind == "recipes" and parsed.kind is None:
            print(f"{len(members)} recipes: dance list recipes --method NAME --data NAME\n")
            continue
        lines = {name: line for name, line in members.items() if isinstance(line, str)}
        if lines:
            print_table((kind, ""), lines.items())
        elif kind == "methods":
            _print_methods(members)
        else:
            _print_zoo(members)


def _chosen(recipe: str, wanted: Mapping[str, str]) -> bool:
    """Whether a recipe has the wanted settings; everything has none."""
    config = RECIPES.get(recipe).config() if wanted else None
    return all(getattr(config, key) == value for key, value in wanted.items())


def _print_zoo(members: Mapping[str, Description]) -> None:
    """Print the table of condensed sets; ``dance evaluate zoo:NAME`` and others take them."""
    rows, pages = [], []
    for name, facts in members.items():
        assert not isinstance(facts, str)
        images = str(facts["images"])
        if facts["decoded_images"] != facts["images"]:
            images += f" ({facts['decoded_images']} decoded)"
        full, quick = (_accuracy(facts[key]) for key in ("full", "quick"))
        size = format.plain(format.size(facts["storage_bytes"]))
        cells = (facts["method"], images, size, full, quick)
        rows.append((name, *cells))
        pages.append(f"  {name}: {facts['page'] or 'no page is named'}")
    columns = ("<zoo", "<method", ">images", ">stored", "<full score, %", "<quick-v1, %")
    print_table(columns, rows)
    if rows:
        print(
            "Last epochs, mean ± standard deviation (networks). Name a set as zoo:NAME. Measured:"
        )
        print("\n".join(pages))


def _accuracy(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "none"
    number = format.mean_std(score["mean"], score["std"], score["networks"])
    shown = f"{number} ({score['networks']})"
    return shown if score["protocol"] == zoo.QUICK else f"{shown} {score['protocol']}"


def _print_methods(members: Mapping[str, Description]) -> None:
    """Print the table of methods, with the data and images per class at which each was measured."""
    rows = []
    for name, facts in members.items():
        assert not isinstance(facts, str)
        year = "" if facts["year"] is None else str(facts["year"])
        ipcs: dict[str, list[str]] = {}
        for row in facts["tested"]:
            ipcs.setdefault(row["data"], []).append(str(row["ipc"]))
        tested = [f"{data} {', '.join(numbers)}" for data, numbers in ipcs.items()]
        cells = (facts["title"], facts["paper"], year, facts["kind"], facts["needs"])
        rows.append((name, *cells, "\n".join(tested) or "none"))
    columns = ("<methods", "<title", "paper", ">year", "<kind", "<needs", "<tested at")
    print_table(columns, rows)
