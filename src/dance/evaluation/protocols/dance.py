"""The protocol of DANCE's tables, from the released settings, and a short one for CPUs."""

from __future__ import annotations

import math

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.training import TrainerConfig

_TRAINING = TrainerConfig(
    epochs=1500,
    batch_size=64,
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    gamma=0.2,
    augmentation="color_crop_flip_scale_rotate",
    cutmix=0.5,
    augmentation_mode="chain",
    milestones=("2/3", "5/6"),
)

DANCE_V1 = Protocol(
    name="dance-v1",
    source="Zhang et al. 2024, released settings",
    training=_TRAINING,
    large_epochs=((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500), (math.inf, 300)),
    mirrors_all=False,
    tests_every=250,
    large_tests_every=500,
    repeats=10,
    large_repeats=3,
)

QUICK_V1 = Protocol(
    name="quick-v1",
    source="dance-v1 cut to 500 SGD steps, the same for sets of all sizes",
    training=_TRAINING,
    mirrors_all=False,
    steps=500,
    tests_every=50,
    large_tests_every=50,
    repeats=3,
    large_repeats=3,
)

for _protocol in (DANCE_V1, QUICK_V1):
    PROTOCOLS.register(_protocol.name)(_protocol)
