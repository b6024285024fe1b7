"""Functions for the recipes of published numbers."""

from __future__ import annotations

from dataclasses import replace

from dance.augment.operation import without
from dance.data.known import KNOWN, is_mirrored
from dance.engine import RunConfig
from dance.recipes.base import RECIPES, Recipe, Settings
from dance.recipes.published import table


def recipe_name(method: str, data: str, ipc: int, suffix: str = "") -> str:
    """``<method>-<data>-ipc<n><suffix>``, with ``-`` for ``_``."""
    return f"{method}-{data}-ipc{ipc}{suffix}".replace("_", "-")


def add(
    method: str,
    data: str,
    ipc: int,
    config: Settings,
    paper: str,
    expect: str,
    suffix: str = "",
    command: str | None = None,
    *,
    protocol: str | None = None,
    repeats: int | None = None,
) -> None:
    """Register a recipe under :func:`recipe_name`.

    Args:
        method: the first part of its name.
        data: name of a known data set.
        ipc: images per class.
        config: from data, images per class and resolution to the settings.
        paper: the source of the settings.
        expect: the expected accuracy, with the source of the number.
        suffix: variant of the settings.
        command: the command that runs it; None: ``dance condense --config`` with its name.
        protocol: that scores it; None: that of ``config``.
        repeats: number of networks, with a protocol; None: that of the protocol.
    """
    name = recipe_name(method, data, ipc, suffix)
    size = KNOWN.get(data).size

    def make() -> RunConfig:
        made = config(data, ipc, size)
        return made if protocol is None else by_protocol(made, protocol, repeats)

    command = command or f"dance condense --config {name}"
    RECIPES.register(name)(Recipe(name, paper, command, expect, make))


def published_rows(
    method: str,
    paper: str,
    source: str,
    config: Settings,
    *,
    protocol: str | None = None,
    repeats: int | None = None,
) -> None:
    """Register ``<method>-<data>-ipc<n>`` for every number that a table has of a method.

    Args:
        method: its name in the table.
        paper: the source of the settings.
        source: name of the table, see :mod:`dance.recipes.published`.
        config: from data, images per class and resolution to the settings nearest to those of the
            published numbers.
        protocol: that scores them, nearest to that of the published numbers; None: that of
            ``config``.
        repeats: number of networks, with a protocol; None: that of the protocol.
    """
    found = table(source)
    for number in found.select(method=method):
        data, ipc = str(number.where["data"]), int(number.where["ipc"])
        expect = f"accuracy {number} %, as published in {found.source(method, data)}"
        add(method, data, ipc, config, paper, expect, protocol=protocol, repeats=repeats)


def augmentation_for(data: str, strategy: str) -> str:
    """The strategy, without ``flip`` if mirroring changes the classes of the data set."""
    return strategy if is_mirrored(data) else without(strategy, "flip")


def by_own_statistics(config: RunConfig) -> RunConfig:
    """The configuration with a known set standardised by its own mean and standard deviation."""
    known = KNOWN.find(config.data)
    if known is None or known.own_constants is None:
        return config
    return replace(config, source=replace(config.source, statistics="own"))


def without_experts(config: RunConfig) -> RunConfig:
    """The configuration without the score of the whole set, which is expensive to compute."""
    baselines = tuple(name for name in config.evaluation.baselines if name != "whole")
    return replace(config, evaluation=replace(config.evaluation, baselines=baselines))


def by_protocol(config: RunConfig, protocol: str, repeats: int | None = None) -> RunConfig:
    """The configuration scored by another protocol."""
    evaluation = replace(config.evaluation, protocol=protocol, repeats=repeats)
    return replace(config, evaluation=evaluation)
