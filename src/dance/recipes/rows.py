"""What recipes of published rows share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from dance.data.known import KNOWN
from dance.engine import RunConfig
from dance.recipes.base import RECIPES, Recipe

Rows = Mapping[str, Mapping[int, tuple[float, float | None]]]
"""By data and images per class: mean and standard deviation in percent, the latter if known."""

UNFLIPPED = "color_crop_cutout_scale_rotate"
"""DSA's strategy for digits, which mean something else in a mirror."""


def published_rows(
    method: str,
    paper: str,
    rows: Rows,
    config: Callable[[str, int, int], RunConfig],
    where: str,
) -> None:
    """Register ``<method>-<data>-ipc<n>`` for every number.

    Args:
        method: its name.
        paper: where it is from.
        rows: the numbers.
        config: data, images per class and side to the settings that are nearest to what made them.
        where: in which table they are, and by whose protocol.
    """
    for data, row in rows.items():
        for ipc, (mean, std) in row.items():
            name = f"{method}-{data}-ipc{ipc}".replace("_", "-")
            number = f"{mean}" if std is None else f"{mean} ± {std}"
            expect = f"accuracy {number} %, as published in {where}"
            make = partial(config, data, ipc, KNOWN[data].size)
            command = f"dance condense --config {name}"
            RECIPES.register(name)(Recipe(name, paper, command, expect, make))


def without_experts(config: RunConfig) -> RunConfig:
    """The configuration without the row of the whole set: training it only to compare is dear."""
    kept = tuple(name for name in config.evaluation.baselines if name != "whole")
    return replace(config, evaluation=replace(config.evaluation, baselines=kept))


def by_protocol(config: RunConfig, protocol: str, repeats: int | None = None) -> RunConfig:
    """The configuration scored by another protocol."""
    evaluation = replace(config.evaluation, protocol=protocol, repeats=repeats)
    return replace(config, evaluation=evaluation)
