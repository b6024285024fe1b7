"""The protocol of MTT: DSA's training at the learning rate that is stored in the set."""

from __future__ import annotations

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.evaluation.protocols.dc import DSA_TRAINING

MTT_V1 = Protocol(
    name="mtt-v1",
    source="Cazenavette et al. 2022, released program; the paper prints the highest of the means "
    "found along the condensation, each of the last epoch, which is chosen on test images",
    training=DSA_TRAINING,
    mirrors_all=False,
    repeats=5,
    learned_rate=True,
)

PROTOCOLS.register(MTT_V1.name)(MTT_V1)
