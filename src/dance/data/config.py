"""What a user can say about where images are and how they are brought to one size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dance.core.config import AtLeastOne, Option, configuration


@configuration
class DataConfig:
    """Where an image set is looked for and how its images are prepared."""

    root: Annotated[str | None, Option(short="--data-root", metavar="DIR")] = None
    """Folder that holds named data sets as <root>/<name>/ (none: $DANCE_DATA_ROOT)."""
    size: Annotated[AtLeastOne | None, Option(short="--size")] = None
    """Side of the square images in pixels (none: the set's own)."""
    offline: Annotated[bool, Option(short="--offline")] = False
    """Never fetch anything from the network (HF_HUB_OFFLINE=1 says the same)."""
    skip_bad: Annotated[bool, Option(short="--skip-bad")] = False
    """Leave out images that cannot be used, and list them, instead of stopping at one."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of every class that is held out for testing where a set has no test split."""
