"""Gradient matching and its family: DC without augmentation, DSA (and DM) with one operation.

The authors train E+1 epochs and lower the learning rate after the epoch with index E//2+1, where
their program makes a new optimiser, which resets the momentum. For every even E, this is the
milestone ``1/2+2`` of E+1 epochs.
"""

from __future__ import annotations

from dataclasses import replace

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.training import TrainerConfig

_TRAINING = TrainerConfig(
    epochs=301,
    batch_size=256,
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    gamma=0.1,
    augmentation="",
    cutmix=0.0,
    augmentation_mode="none",
    milestones=("1/2+2",),
    reset_momentum=True,
)
DSA_TRAINING = replace(
    _TRAINING,
    epochs=1001,
    augmentation="color_crop_cutout_flip_scale_rotate",
    augmentation_mode="single",
)
"""Training with one operation per batch, which the evaluations of MTT and DataDAM share."""

DC_V1 = Protocol(
    name="dc-v1",
    source="Zhao et al. 2021, released program; the paper prints the last epoch of the last "
    "iteration, over 5 condensed sets of 20 networks each",
    training=_TRAINING,
    repeats=20,
    norm="instance",
)

DSA_V1 = Protocol(
    name="dsa-v1",
    source="Zhao & Bilen 2021, released program, also that of DM; the papers print the last epoch "
    "of the last iteration, over 5 condensed sets of 20 networks each",
    training=DSA_TRAINING,
    mirrors_all=False,
    repeats=20,
)

for _protocol in (DC_V1, DSA_V1):
    PROTOCOLS.register(_protocol.name)(_protocol)
