"""Measurements of the library's own speed against a literal reference."""

from dance.bench.speed import SpeedConfig, speed

__all__ = ["SpeedConfig", "speed"]
