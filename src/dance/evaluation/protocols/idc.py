"""The protocol of IDC's tables, also that of DREAM; it is shorter than DANCE's."""

from __future__ import annotations

import math

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.training import TrainerConfig

IDC_TRAINING = TrainerConfig(
    epochs=1000,
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
"""Training that the evaluation of DANCE shares, for more epochs."""
LARGE_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500), (math.inf, 300))
"""Epochs for large images, by decoded images per class; the evaluation of DANCE shares them."""

IDC_V1 = Protocol(
    name="idc-v1",
    source="Kim et al. 2022, released settings; the program prints the best and the last of four "
    "tests, and the paper does not say which of them it prints",
    training=IDC_TRAINING,
    large_epochs=LARGE_EPOCHS,
    mirrors_all=False,
    tests=4,
    repeats=3,
)

PROTOCOLS.register(IDC_V1.name)(IDC_V1)
