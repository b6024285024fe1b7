"""The condensed set: its container, its decoders, its initial pixels and its files."""

from dance.condensed.container import CondensedSet, load_set
from dance.condensed.dataset import CondensedDataset
from dance.condensed.decoders import DECODERS, Decoder
from dance.condensed.init import initial_pixels
from dance.condensed.locations import Location, SetFile, locate
from dance.condensed.score import Score

__all__ = [
    "DECODERS",
    "CondensedDataset",
    "CondensedSet",
    "Decoder",
    "Location",
    "Score",
    "SetFile",
    "initial_pixels",
    "load_set",
    "locate",
]
