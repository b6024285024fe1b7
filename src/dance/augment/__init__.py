"""Augmentation of standardised images: draw parameters from a keyed generator, then apply them."""

from typing import Annotated

from pydantic import AfterValidator

from dance.augment.operation import parse


def _parsed(strategy: str) -> str:
    parse(strategy)
    return strategy


Strategy = Annotated[str, AfterValidator(_parsed)]
"""Names of operations joined by underscores, such as ``"color_crop"``; empty for none."""
