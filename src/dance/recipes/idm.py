"""IDM at the settings of its released command list, and the numbers of DANCE's Table 1.

Zhao, Li, Qin & Yu, Improved Distribution Matching (CVPR 2023). The command list is the only
complete source; other data use CIFAR-10's settings for the nearest number of images per class, with
256 real images per class. A command without a recipe scores by ``dance-v1``, as for every method;
the recipes score by ``dsa-v1`` with 5 networks, as the paper does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.networks import NetworkConfig
from dance.recipes.base import LOW_RESOLUTION, QUICK, SETTINGS, always, factor_for
from dance.recipes.rows import augmentation_for, by_own_statistics, published_rows, without_experts

_COMMANDS: Mapping[str, Mapping[int, Mapping[str, Any]]] = {
    "cifar10": {
        1: {"real_batch": 0, "push_interval": 5},
        10: {},
        50: {"ce_weight": 0.1, "meter_interval": 500},
    },
    "cifar100": {
        1: {"real_batch": 0, "push_interval": 5},
        10: {"ce_weight": 0.1, "model_steps": 50},
        50: {"ce_weight": 0.1, "model_steps": 40, "meter_interval": 500},
    },
    "tiny_imagenet": {
        1: {},
        10: {"meter_interval": 500},
        50: {"ce_weight": 0.8, "model_steps": 50, "meter_interval": 1000},
    },
}
"""Differences to the defaults. For CIFAR-100 with 50 images per class, networks in the queue are
trained for 40 steps, as the authors advised later; their list has 10."""
_LARGE: Mapping[str, Any] = {
    "ce_weight": 3.0,
    "real_batch": 128,
    "push_interval": 50,
    "queue": 50,
    "meter_interval": 1000,
}
"""For images above 64 pixels: the commands of a set of 100 classes of ImageNet at 224 pixels."""
_TINY_DEPTH = 3
"""Blocks of the ConvNet for TinyImageNet, for which other methods use 4."""


@SETTINGS.register("idm")
def idm_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """IDM for images of ``resolution`` pixels; very small images are not shrunk to quarters.

    Args:
        data: name or path.
        ipc: images per class.
        resolution: H = W of the images in pixels.
    """
    known = _COMMANDS.get(data, {10: {}, 50: _COMMANDS["cifar10"][50]})
    row = dict(known[min(known, key=lambda number: abs(number - ipc))])
    if data not in _COMMANDS and resolution > LOW_RESOLUTION:
        row = dict(_LARGE)
    options = METHODS.get("idm").Config(**row)
    options = replace(options, augmentation=augmentation_for(data, options.augmentation))
    depth = _TINY_DEPTH if data == "tiny_imagenet" else None
    config = RunConfig(
        data=data,
        method="idm",
        ipc=ipc,
        factor=min(2, factor_for(resolution)),
        init="collage",
        network=NetworkConfig(depth=depth),
        options=options,
    )
    return by_own_statistics(without_experts(config))


_PAPER = "IDM (Zhao et al., CVPR 2023)"
published_rows("idm", _PAPER, "dance_table_1", idm_config, protocol="dsa-v1", repeats=5)
QUICK.register("idm")(always({"options": {"iterations": 25}}))
