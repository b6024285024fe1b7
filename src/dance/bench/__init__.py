"""Measurements: speed against a literal reference, and methods against each other."""

from dance.bench.methods import MethodsConfig, methods
from dance.bench.speed import SpeedConfig, speed

__all__ = ["MethodsConfig", "SpeedConfig", "methods", "speed"]
