"""DANCE at the settings of the paper's tables, by resolution, and the accuracies published there.

Zhang et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation (IJCAI 2024), section
4.1 and the released settings. Values that are not set here are the defaults of their classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dance.data.known import KNOWN
from dance.engine import RunConfig, build_run
from dance.experts import ExpertConfig
from dance.methods import METHODS
from dance.recipes.base import QUICK, SETTINGS, VARIANTS, Facts
from dance.recipes.published import table
from dance.recipes.quick import is_tiny
from dance.recipes.rows import add

_PAPER = "DANCE (Zhang et al., IJCAI 2024)"
_SMALL = 64
"""Largest resolution in pixels that the paper calls low."""
_TINY = 16
"""Resolution in pixels below which images are not divided into cells, since cells of a few pixels
are not recognisable, and the learning rate of the pixels is lower: with the published one, pixels
of the digits exceed [0,1] by twice its width."""

_UNPUBLISHED = {"digits": (1, 10)}
"""Data sets that no paper reports, and their images per class."""


@SETTINGS.register("dance")
def dance_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The paper's settings for images of ``resolution`` pixels, also for sets that it does not use.

    Args:
        data: name or path.
        ipc: images per class; the method scales the step on the pixels with it.
        resolution: H = W of the images in pixels.
    """
    settings = METHODS.get("dance").Config
    if resolution > _SMALL:
        experts = ExpertConfig(epochs=80, batch_size=128)
        options = settings(learning_rate=0.1)
        return RunConfig(data=data, ipc=ipc, factor=3, experts=experts, options=options)
    if resolution < _TINY:
        return RunConfig(data=data, ipc=ipc, factor=1, options=settings(learning_rate=0.001))
    return RunConfig(data=data, ipc=ipc, factor=2, options=settings())


_QUICK_STEPS = (150, 500)
_QUICK_IMAGES = 200_000
"""Decoded images of 32 x 32 pixels that all steps of a quick run forward: minutes on two cores."""


@QUICK.register("dance")
def _quick_changes(config: RunConfig, facts: Facts) -> Mapping[str, Any]:
    """A bank, and what was measured to be better in short runs (docs/results/ablations.md).

    The number of steps is what the budget of decoded images allows, within limits.
    """
    options: dict[str, Any] = {"real_targets": "bank"}
    if is_tiny(facts.data) or not _TINY <= facts.resolution <= _SMALL:
        return {"options": options}
    size = (facts.resolution / 32) ** 2
    steps = _QUICK_IMAGES / (facts.classes * config.ipc * config.factor**2 * size)
    least, most = _QUICK_STEPS
    options |= {
        "iterations": min(most, max(least, round(steps))),
        "bank_draws": 100,
        "learning_rate": 2 * config.options.learning_rate,
        "calibration_weight": 2.0,
    }
    return {"init": "k_means", "options": options}


def _shallow_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The same with a ConvNet of three blocks, as in the released code for TinyImageNet."""
    config = dance_config(data, ipc, resolution)
    return replace(config, network=replace(config.network, depth=3))


def _literal_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """Algorithm 1 as printed.

    It uses all real images and no augmentation in Eq. 4, the mean over the whole set in Eq. 5, one
    plain gradient step for each loss, and random real images as initial images.
    """
    config = dance_config(data, ipc, resolution)
    options = replace(
        config.options,
        real_batch=0,
        augmentation="",
        steps="joint",
        momentum=0.0,
        calibration_mean="set",
    )
    return replace(config, init="random", options=options)


def _variant_config(variant: str, data: str, ipc: int, resolution: int) -> RunConfig:
    config = dance_config(data, ipc, resolution)
    facts = Facts(data, resolution, KNOWN.get(data).count)
    return build_run(VARIANTS.get(variant).changes(config, facts), base=config)


def _add(data: str, ipc: int, source: str, expect: str) -> None:
    """Register the recipe with the settings of the command, and its quick variant."""
    command = f"dance condense {data} --ipc {ipc}"
    add("dance", data, ipc, dance_config, source, expect, command=command)
    for name in ("quick",):
        add(
            "dance",
            data,
            ipc,
            partial(_variant_config, name),
            f"{source}, shortened for two cores",
            "no published number: the run is too short for one",
            suffix=f"-{name}",
            command=f"{command} --config {name}",
        )


for _number in (1, 2):
    for _row in table(f"dance_table_{_number}").select(method="dance"):
        _expect = f"accuracy {_row} %, as published in Table {_number} of the paper"
        _data, _ipc = str(_row.where["data"]), int(_row.where["ipc"])
        _add(_data, _ipc, f"{_PAPER}, Table {_number}", _expect)
for _ipc in (1, 10, 50):
    _text = "no published number belongs to exactly these settings: the paper has four blocks"
    _code = f"{_PAPER}, the depth of its released code"
    add("dance", "tiny_imagenet", _ipc, _shallow_config, _code, _text, suffix="-code")
_text = "no published number: the released settings made the paper's"
add("dance", "cifar10", 10, _literal_config, f"{_PAPER}, Algorithm 1", _text, suffix="-paper")
for _data, _ipcs in _UNPUBLISHED.items():
    for _ipc in _ipcs:
        _add(_data, _ipc, f"{_PAPER}, on a set that it does not use", "no published number")
