"""The protocol of DANCE's tables, from the released settings, and a short one for CPUs."""

from __future__ import annotations

from dataclasses import replace

from dance.evaluation.protocol import PROTOCOLS, Protocol
from dance.evaluation.protocols.idc import IDC_TRAINING, LARGE_EPOCHS

_TRAINING = replace(IDC_TRAINING, epochs=1500)

DANCE_V1 = Protocol(
    name="dance-v1",
    source="Zhang et al. 2024, released settings",
    training=_TRAINING,
    large_epochs=LARGE_EPOCHS,
    mirrors_all=False,
    tests_every=250,
    large_tests_every=500,
    repeats=10,
    large_repeats=3,
)

QUICK_V1 = Protocol(
    name="quick-v1",
    source="dance-v1 cut to whole epochs of 500 SGD steps or more, for sets of all sizes",
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
