"""Labelled image sets: find one by name or path, decode it once into a cache, load an ImageSet."""

from dance.data.config import DataConfig
from dance.data.find import UnknownDataError
from dance.data.imageset import ImageSet
from dance.data.load import load
from dance.data.normalization import Normalization

__all__ = ["DataConfig", "ImageSet", "Normalization", "UnknownDataError", "load"]
