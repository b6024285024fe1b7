"""The protocol of matched trajectories: DSA's training at the learning rate that the set brings."""

from __future__ import annotations

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.evaluation.protocols.dc import DSA_FIT

MTT_V1 = Protocol(
    name="mtt-v1",
    source="Cazenavette et al. 2022, released program; the paper prints the highest of the means "
    "found along the condensation, each of the last epoch, which is chosen on test images",
    fit=DSA_FIT,
    mirrors_all=False,
    repeats=5,
    learned_rate=True,
)

PROTOCOLS.register(MTT_V1.name)(MTT_V1)
