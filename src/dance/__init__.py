"""Dataset condensation: a large labelled image set becomes a very small one that trains as well."""

from importlib.metadata import version

__version__ = version("dance")
