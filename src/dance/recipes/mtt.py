"""MTT at its published settings, and its numbers, of which there are two versions.

Cazenavette et al., Dataset Distillation by Matching Training Trajectories (CVPR 2022): the released
commands that DC-Bench received from the author. The table in the repository has other settings for
CIFAR-10 with 10 images per class, which diverge, as its author has confirmed. CIFAR-10 with 1 and
10 images and CIFAR-100 with 1 and 50 are whitened, as published; other sets of their size are not,
and use the settings that others published for CIFAR-10 without whitening.

The numbers are those of the paper, the highest of the evaluations while condensing; those of
DANCE's Table 1 are from another benchmark (see ``published/mtt.yaml`` and
``published/dance_table_1.yaml``). Runs are scored by ``mtt-v1``, which trains at the learning rate
that is stored in the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import LOW_RESOLUTION, QUICK, SETTINGS, always
from dance.recipes.rows import augmentation_for, by_protocol, published_rows, without_experts

_TINY_RATES = {"learning_rate": 10_000.0, "step_size_learning_rate": 1e-4}
_WHITE = {"cifar10": (1, 10), "cifar100": (1, 50)}
"""Data sets and numbers of images per class that are whitened."""
_CIFAR10: Mapping[int, Mapping[str, Any]] = {
    1: {
        "student_steps": 50,
        "start_epochs": 2,
        "learning_rate": 100.0,
        "step_size_learning_rate": 1e-7,
    },
    10: {"student_steps": 30, "learning_rate": 100.0, "step_size": 0.001},
    50: {"student_steps": 30, "start_epochs": 40, "step_size": 0.001},
}
_PLAIN: Mapping[int, Mapping[str, Any]] = {
    1: {"student_steps": 50, "start_epochs": 5, "step_size_learning_rate": 1e-7},
    10: {"student_steps": 30, "start_epochs": 15},
    50: _CIFAR10[50],
}
_CIFAR100: Mapping[int, Mapping[str, Any]] = {
    1: {"expert_epochs": 3},
    10: {},
    50: {"student_steps": 80, "start_epochs": 40, "student_batch": 125},
}
_TINY: Mapping[int, Mapping[str, Any]] = {
    1: {**_TINY_RATES, "student_steps": 10, "start_epochs": 10},
    10: {**_TINY_RATES, "start_epochs": 40, "student_batch": 200},
    50: {**_TINY_RATES, "start_epochs": 40, "student_batch": 300},
}
_IMAGENET: Mapping[int, Mapping[str, Any]] = {
    1: {"start_epochs": 10, "step_size_learning_rate": 1e-6},
    10: {"start_epochs": 10, "step_size_learning_rate": 1e-6, "student_batch": 20},
}
_DIGITS: Mapping[int, Mapping[str, Any]] = {
    1: {"learning_rate": 30.0, "step_size": 0.03, "start_epochs": 10},
}
"""Chosen for this library: with the published learning rate, the pixels of these small images leave
their range by far."""
_UNWHITENED = 32
"""Largest resolution in pixels for the settings without whitening."""


@SETTINGS.register("mtt")
def mtt_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """MTT for images of ``resolution`` pixels.

    Sets that are not in its table use the settings of one of that size, at the largest published
    number of images per class that is not above ``ipc``.

    Args:
        data: name or path.
        ipc: images per class.
        resolution: H = W of the images in pixels.
    """
    rows = _rows(data, resolution)
    nearest = max(number for number in rows if number <= max(1, ipc))
    options = METHODS.get("mtt").Config(**rows[nearest])
    options = replace(options, augmentation=augmentation_for(data, options.augmentation))
    config = RunConfig(data=data, method="mtt", ipc=ipc, init="random", options=options)
    if nearest in _WHITE.get(data, ()):
        config = replace(config, whitening="zca")
    strategy = augmentation_for(data, config.trajectories.augmentation)
    config = replace(config, trajectories=replace(config.trajectories, augmentation=strategy))
    return by_protocol(without_experts(config), "mtt-v1")


def _rows(data: str, resolution: int) -> Mapping[int, Mapping[str, Any]]:
    """The settings of a data set by images per class."""
    known = {"cifar10": _CIFAR10, "cifar100": _CIFAR100, "digits": _DIGITS}
    if data in known:
        return known[data]
    if resolution <= _UNWHITENED:
        return _PLAIN
    return _TINY if resolution <= LOW_RESOLUTION else _IMAGENET


for _source in ("mtt", "dance_table_2"):
    published_rows("mtt", "MTT (Cazenavette et al., CVPR 2022)", _source, mtt_config)
QUICK.register("mtt")(always(
    {
        "trajectories": {"count": 2, "epochs": 5},
        "options": {
            "iterations": 12, "start_epochs": 4, "expert_epochs": 2, "student_steps": 10,
        },
    }
))  # fmt: skip
