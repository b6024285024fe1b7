"""Trackers of experiments: TensorBoard, Weights & Biases, MLflow."""

from dance.trackers.base import TRACKERS, Results, TrackedRun, Tracker

__all__ = ["TRACKERS", "Results", "TrackedRun", "Tracker"]
