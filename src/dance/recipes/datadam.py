"""DataDAM in three variants of its published settings, and the numbers of DANCE's tables.

Sajedi et al., DataDAM (ICCV 2023). Paper and released code disagree. As far as its authors have
answered, the numbers were made by the code, with batch norm. ``datadam-<data>-ipc<n>`` is this
variant, for CIFAR on whitened images, as users inferred and the authors did not contradict;
``-code`` is the released code without changes; ``-paper`` has the paper's settings: instance norm,
attention power 4, 8000 iterations.
"""

from __future__ import annotations

from dataclasses import replace

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.networks import NetworkConfig
from dance.recipes.base import SETTINGS
from dance.recipes.published import table
from dance.recipes.rows import (
    add,
    augmentation_for,
    by_own_statistics,
    published_rows,
    without_experts,
)

_LARGE_IPC = 50
"""Images per class above which the learning rate is ten times as large."""
_LARGE = 128
"""Smallest resolution in pixels at which the weight of the embedding is twice as large."""

_WHITENED = ("cifar10", "cifar100")


@SETTINGS.register("datadam")
def datadam_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """DataDAM as released for images of ``resolution`` pixels, with batch norm.

    Args:
        data: name or path.
        ipc: images per class; above 50 the learning rate is higher.
        resolution: H = W of the images in pixels.
    """
    options = METHODS.get("datadam").Config()
    options = replace(options, augmentation=augmentation_for(data, options.augmentation))
    if ipc > _LARGE_IPC:
        options = replace(options, learning_rate=10.0)
    if resolution >= _LARGE:
        options = replace(options, balance=0.02)
    network = NetworkConfig(norm="batch")
    config = RunConfig(
        data=data, method="datadam", ipc=ipc, init="random", network=network, options=options
    )
    return by_own_statistics(without_experts(config))


def published_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The settings of the published numbers, as far as they are known; CIFAR is whitened."""
    config = datadam_config(data, ipc, resolution)
    return replace(config, whitening="zca_standardised") if data in _WHITENED else config


def paper_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The settings in the paper, with instance norm."""
    config = datadam_config(data, ipc, resolution)
    options = replace(config.options, power=4, iterations=8000)
    return replace(config, network=NetworkConfig(), options=options)


_PAPER = "DataDAM (Sajedi et al., ICCV 2023)"
_NONE = "no published number belongs to exactly these settings"
_PRESETS = (("code", datadam_config, "datadam-v1"), ("paper", paper_config, "dsa-v1"))
for _source in ("dance_table_1", "dance_table_2"):
    published_rows("datadam", _PAPER, _source, published_config, protocol="datadam-v1")
    for _row in table(_source).select(method="datadam"):
        _data, _ipc = str(_row.where["data"]), int(_row.where["ipc"])
        for _preset, _config, _protocol in _PRESETS:
            _from = f"{_PAPER}, settings of its {_preset}"
            add("datadam", _data, _ipc, _config, _from, _NONE, f"-{_preset}", protocol=_protocol)
