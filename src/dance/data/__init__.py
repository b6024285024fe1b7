"""Labelled image sets: found by name or path, decoded once into a cache, served as an ImageSet."""

from dance.data.config import DataConfig
from dance.data.imageset import ImageSet
from dance.data.load import load

__all__ = ["DataConfig", "ImageSet", "load"]
