"""Benchmarks: the speed of the library against a literal reference, and methods side by side."""

from dance.bench.methods import MethodsConfig, methods
from dance.bench.speed import SpeedConfig, speed

__all__ = ["MethodsConfig", "SpeedConfig", "methods", "speed"]
