"""The condensed set: its container, its decoders, its first pixels and its files."""

from dance.condensed.container import CondensedSet, load_set
from dance.condensed.dataset import CondensedDataset
from dance.condensed.decoders import check_factor, decode, decode_labels
from dance.condensed.init import initial_pixels

__all__ = [
    "CondensedDataset",
    "CondensedSet",
    "check_factor",
    "decode",
    "decode_labels",
    "initial_pixels",
    "load_set",
]
