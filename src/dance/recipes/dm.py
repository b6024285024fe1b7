"""DM at its published settings, and the numbers of DANCE's tables.

Zhao & Bilen, Dataset Condensation with Distribution Matching (WACV 2023), and the released
commands. A command without a recipe scores by ``dance-v1``, as for every method; the recipes score
by ``dsa-v1``, the protocol of the paper.
"""

from __future__ import annotations

from dataclasses import replace

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import SETTINGS
from dance.recipes.rows import augmentation_for, by_own_statistics, published_rows, without_experts

_LARGE_IPC = 100
"""Images per class from which the learning rate on CIFAR-10 is ten times as large."""


@SETTINGS.register("dm")
def dm_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """DM for images of ``resolution`` pixels; images of digits are not mirrored.

    Args:
        data: name or path.
        ipc: images per class; from 100 on, the learning rate for CIFAR-10 is higher.
        resolution: H = W of the images in pixels.
    """
    options = METHODS.get("dm").Config()
    options = replace(options, augmentation=augmentation_for(data, options.augmentation))
    if data == "cifar10" and ipc >= _LARGE_IPC:
        options = replace(options, learning_rate=10.0)
    config = RunConfig(data=data, method="dm", ipc=ipc, init="random", options=options)
    return by_own_statistics(without_experts(config))


_PAPER = "DM (Zhao & Bilen, WACV 2023)"
for _source in ("dance_table_1", "dance_table_2"):
    published_rows("dm", _PAPER, _source, dm_config, protocol="dsa-v1")
