"""Experts: trained on the real set once, stored with first and last weights, shared by all runs."""

from dance.experts.interpolate import interpolate
from dance.experts.pool import Expert, ExpertPool
from dance.experts.recipe import ExpertConfig
from dance.experts.trajectories import Trajectories, TrajectoryConfig, TrajectoryPool

__all__ = [
    "Expert",
    "ExpertConfig",
    "ExpertPool",
    "Trajectories",
    "TrajectoryConfig",
    "TrajectoryPool",
    "interpolate",
]
