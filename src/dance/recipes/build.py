"""From plain settings to a RunConfig, with the settings class of the method that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dance.core.config import build
from dance.engine import RunConfig
from dance.methods import METHODS


def build_run(plain: Mapping[str, Any], where: str = "") -> RunConfig:
    """The configuration that plain settings describe.

    Args:
        plain: settings by name; ``options`` are those of the method that ``method`` names.
        where: dotted place of ``plain`` in the whole, for messages.

    Raises:
        ConfigError: unknown method, unknown key, wrong type or value.
    """
    config = build(RunConfig, {key: plain[key] for key in plain if key != "options"}, where)
    place = f"{where}.options" if where else "options"
    given = plain.get("options") or {}
    return replace(config, options=build(METHODS.get(config.method).Config, given, place))
