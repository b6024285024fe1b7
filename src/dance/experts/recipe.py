"""How expert networks are trained (DANCE, section 4.1 and the released settings)."""

from __future__ import annotations

from dance.augment import Strategy
from dance.core.config import AtLeastOne, Count, configuration
from dance.training import TrainerConfig


@configuration
class ExpertConfig(TrainerConfig):
    """Training of the experts on the whole real set."""

    count: Count = 5
    """Number of experts that are trained and drawn from: N, varied in Table 6 of the paper."""
    epochs: AtLeastOne = 60
    """Passes over the real training set (published: 60, or 80 for the ImageNet subsets)."""
    batch_size: AtLeastOne = 64
    """Images per step (published: 64, or 128 for the ImageNet subsets); the last, smaller batch of
    a pass is kept."""
    augmentation: Strategy = "color_crop"
