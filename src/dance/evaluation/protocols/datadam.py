"""The protocol of attention matching: DSA's training, longer, in small batches, with batch norm."""

from __future__ import annotations

from dataclasses import replace

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.evaluation.protocols.dc import DSA_TRAINING

DATADAM_V1 = Protocol(
    name="datadam-v1",
    source="Sajedi et al. 2023, released program; the printed numbers agree with the highest of "
    "the means found along the condensation, which is chosen on test images",
    training=replace(DSA_TRAINING, epochs=1801, batch_size=64),
    mirrors_all=False,
    repeats=10,
    norm="batch",
)

PROTOCOLS.register(DATADAM_V1.name)(DATADAM_V1)
