"""load: from a name or a path to an ImageSet."""

from __future__ import annotations

from typing import Literal

from dance.core.errors import DataError
from dance.data.config import DataConfig
from dance.data.imageset import ImageSet


def load(source: str, split: Literal["train", "test"], config: DataConfig | None = None) -> ImageSet:
    """Load one split of a data set given by name or path."""
    raise DataError(f"no reader for {source!r} ({split}, {config or DataConfig()})")
