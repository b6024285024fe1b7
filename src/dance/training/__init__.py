"""The only classifier training loop: experts and evaluation both call it."""

from dance.training.fit import Fit, FitConfig, TrainingData

__all__ = ["Fit", "FitConfig", "TrainingData"]
