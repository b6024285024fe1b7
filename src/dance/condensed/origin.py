"""Of which data a set was made, as its settings say: the name of a folder is no name of a set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dance.condensed.container import CondensedSet
from dance.data.imageset import ImageSet
from dance.data.known import KNOWN, Known

_EVERYWHERE = ("hf:", "embedded:")
"""How locations begin that are the same on every machine."""


def data_of(condensed: CondensedSet) -> str:
    """Name or path of the data, as commands take it; empty if the set does not record it."""
    return str(condensed.provenance.get("config", {}).get("data") or "")


def known_data(condensed: CondensedSet) -> Known | None:
    """The known data set that was asked for by its name; None for all others."""
    return KNOWN.find(data_of(condensed))


def as_known(condensed: CondensedSet, images: ImageSet) -> ImageSet:
    """The images, with the rules of the known data set of which the set was made.

    They are its images from another place; those that were asked for by a known name keep it.
    """
    known = known_data(condensed)
    return images if images.known or known is None else replace(images, known=known.name)


def is_public(condensed: CondensedSet) -> bool:
    """Whether others can have the data: it is a known data set, or lies on the hub."""
    return known_data(condensed) is not None or data_of(condensed).startswith(_EVERYWHERE)


def reading(condensed: CondensedSet) -> dict[str, Any]:
    """How the data was read, as far as the set records it."""
    recorded = condensed.provenance.get("config", {}).get("source")
    return recorded if isinstance(recorded, dict) else {}
