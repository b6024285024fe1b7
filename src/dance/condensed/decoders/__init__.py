"""Decoders: from stored images to the images that networks see. One file adds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dance.condensed.decoders.base import DECODERS, Decoder
from dance.core.errors import ConfigError

__all__ = ["DECODERS", "Decoder", "of_factor", "unpack"]


def of_factor(factor: int) -> Decoder:
    """The decoder of a run with this ``factor``: the identity for 1, else the grid.

    Raises:
        ConfigError: it is not an integer of at least 1.
    """
    return DECODERS.get("identity" if factor == 1 else "grid")(factor)


def unpack(header: object) -> Decoder:
    """Make a decoder from the result of :meth:`Decoder.pack`.

    Raises:
        ConfigError: there is no such decoder, or it has other parameters.
    """
    if not isinstance(header, Mapping) or not isinstance(header.get("name"), str):
        raise ConfigError(f"a decoder must be a mapping with a name: got {header!r}")
    parameters: dict[str, Any] = dict(header)
    kind = DECODERS.get(parameters.pop("name"))
    names = kind.parameter_names()
    if set(parameters) != set(names):
        raise ConfigError(
            f"decoder {header['name']!r} must have the parameters {', '.join(names)}: got "
            f"{', '.join(map(str, parameters)) or 'none'}"
        )
    return kind(**parameters)
