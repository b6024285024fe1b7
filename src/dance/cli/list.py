"""List what there is: methods, recipes, datasets, networks or protocols."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from dance.cli.options import Parser, add_json, headline
from dance.cli.output import print_json, print_table
from dance.core.errors import ConfigError, nearest
from dance.data.known import KNOWN
from dance.evaluation.protocol import PROTOCOLS
from dance.methods import METHODS
from dance.networks import NETWORKS
from dance.recipes import RECIPES


def _method(name: str) -> str:
    method = METHODS.get(name)
    return f"{method.title}: {method.paper}"


def _dataset(name: str) -> str:
    known = KNOWN[name]
    fewest, most = known.train
    train = f"{most}" if fewest == most else f"{fewest}-{most}"
    return f"{known.size} px, {known.count} classes, {train} train and {known.test} test images"


KINDS: Mapping[str, tuple[Callable[[], list[str]], Callable[[str], str]]] = {
    "methods": (METHODS.names, _method),
    "recipes": (RECIPES.names, lambda name: RECIPES.get(name).expect),
    "datasets": (lambda: list(KNOWN), _dataset),
    "networks": (NETWORKS.names, lambda name: headline(NETWORKS.get(name))),
    "protocols": (PROTOCOLS.names, lambda name: PROTOCOLS.get(name).source),
}
"""For each kind its names, and one line about a name."""


def add_arguments(parser: Parser, words: Sequence[str]) -> None:
    """The options of this verb."""
    kind = parser.add_argument(
        "kind", metavar="KIND", nargs="?", help=f"{', '.join(KINDS)} (default: all of them)"
    )
    kind.candidates = list(KINDS)  # type: ignore[attr-defined]
    add_json(parser)


def run(parsed: argparse.Namespace) -> None:
    """Print the names, each with one line."""
    if parsed.kind is not None and parsed.kind not in KINDS:
        raise ConfigError(f"unknown kind {parsed.kind!r}{nearest(parsed.kind, KINDS)}")
    shown = [parsed.kind] if parsed.kind else list(KINDS)
    found = {kind: {name: KINDS[kind][1](name) for name in KINDS[kind][0]()} for kind in shown}
    if parsed.json:
        print_json(found)
        return
    for kind, members in found.items():
        print_table((kind, ""), members.items())
