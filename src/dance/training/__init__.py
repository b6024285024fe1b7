"""The only classifier training loop: experts and evaluation both call it."""

from dance.training.trainer import Trainer, TrainerConfig, TrainingData

__all__ = ["Trainer", "TrainerConfig", "TrainingData"]
