"""How expert networks are trained (DANCE, section 4.1 and the released settings)."""

from __future__ import annotations

from dataclasses import dataclass

from dance.training import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class ExpertConfig(TrainerConfig):
    """Training of the experts on the whole real set.

    Attributes:
        count: N, experts that are trained and drawn from (Table 6 of the paper varies it).
        epochs: passes over the real training set: 60, or 80 for the ImageNet subsets.
        batch_size: images a step: 64, or 128 for the ImageNet subsets.
    """

    count: int = 5
    epochs: int = 60
    batch_size: int = 64
    augmentation: str = "color_crop"
