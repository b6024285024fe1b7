"""What a user can say about where images are and how they are brought to one size."""

from __future__ import annotations

from dataclasses import dataclass

from dance.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where an image set is looked for and how its images are prepared."""

    root: str | None = None
    """Folder that holds named data sets as <root>/<name>/; unset: $DANCE_DATA_ROOT."""
    size: int | None = None
    """Side of the square images in pixels; unset: the set's own."""
    offline: bool = False
    """Never fetch anything from the network (HF_HUB_OFFLINE=1 says the same)."""
    skip_bad: bool = False
    """Leave out images that cannot be used, and list them, instead of stopping at one."""
    test_fraction: float = 0.2
    """Share of every class, 0 to 1, held out for testing where a set has no test split."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.size is not None and self.size < 1:
            raise ConfigError(f"size must be a whole number of pixels above 0: got {self.size}")
        if not 0.0 < self.test_fraction < 1.0:
            raise ConfigError(
                f"test_fraction must lie strictly between 0 and 1: got {self.test_fraction}; use "
                "for instance 0.2"
            )
