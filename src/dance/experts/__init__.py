"""Experts: trained on the real set once, stored with first and last weights, shared by all runs."""

from dance.experts.interpolate import interpolate
from dance.experts.pool import Expert, ExpertPool
from dance.experts.recipe import ExpertConfig

__all__ = ["Expert", "ExpertConfig", "ExpertPool", "interpolate"]
