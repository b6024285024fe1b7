"""Methods, a file each: its settings, its state and its step. ``dance list methods`` shows all."""

from dance.methods.base import METHODS, Condenser, Coreset, Method, Problem

__all__ = ["METHODS", "Condenser", "Coreset", "Method", "Problem"]
