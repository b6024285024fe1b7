"""The identity: networks see the stored images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dance.condensed.decoders.base import DECODERS, Decoder
from dance.core.errors import ConfigError


@dataclass(frozen=True)
class Identity(Decoder):
    """Stored images as they are, of any resolution; the factor is 1."""

    name = "identity"
    source = "all methods without factoring"

    def __post_init__(self) -> None:
        """Check the factor.

        Raises:
            ConfigError: it is not 1.
        """
        super().__post_init__()
        if self.factor != 1:
            raise ConfigError(f"decoder 'identity' must have factor 1: got {self.factor}")

    def images(self, stored: int) -> int:
        """``stored``."""
        return stored

    def decode(self, pixels: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """The same tensor."""
        return pixels


DECODERS.register(Identity.name)(Identity)

IDENTITY = Identity()
