"""The protocol of characteristic functions: DANCE's augmentation under AdamW, for longer."""

from __future__ import annotations

import math

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.training import TrainerConfig

_TINY = "tiny_imagenet"

NCFM_V1 = Protocol(
    name="ncfm-v1",
    source="Wang et al. 2025, released settings; the paper prints the best test of each network, "
    "and some of its numbers with soft labels",
    training=TrainerConfig(
        epochs=2000,
        batch_size=128,
        learning_rate=0.001,
        momentum=0.9,
        weight_decay=0.01,
        gamma=0.5,
        augmentation="color_crop_flip_scale_rotate",
        cutmix=0.5,
        augmentation_mode="chain",
        milestones=("1/5", "2/5", "3/5", "4/5"),
        optimiser="adamw",
    ),
    exceptions=((_TINY, 4, 2000), (_TINY, 40, 300), (_TINY, math.inf, 40)),
    tests=20,
    repeats=10,
)

PROTOCOLS.register(NCFM_V1.name)(NCFM_V1)
