"""DANCE at the settings of the paper's tables, by image side, and the accuracies published there.

Zhang et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation (IJCAI 2024), section
4.1 and the settings released with it. Every value that is not set here is the default of its class.
"""

from __future__ import annotations

from functools import partial

from dance.core.config import merge, to_plain
from dance.data.known import KNOWN
from dance.engine import RunConfig
from dance.experts.recipe import ExpertConfig
from dance.methods import METHODS
from dance.recipes.base import RECIPES, SETTINGS, Recipe
from dance.recipes.build import build_run
from dance.recipes.quick import quick_settings

_PAPER = "DANCE (Zhang et al., IJCAI 2024)"
_SMALL = 64
"""Largest side in pixels of what the paper calls low resolution."""
_TINY = 16
"""Below this side in pixels images are kept whole, since a cell of a few pixels shows nothing, and
the step on the pixels is smaller: with the published one the digits' pixels leave [0,1] by twice
its width."""

_TABLE_1 = {
    "fashion_mnist": {1: (81.5, 0.4), 10: (86.3, 0.2), 50: (86.9, 0.1)},
    "cifar10": {1: (47.1, 0.2), 10: (70.8, 0.2), 50: (76.1, 0.1)},
    "cifar100": {1: (27.9, 0.2), 10: (49.8, 0.1), 50: (52.8, 0.1)},
    "tiny_imagenet": {1: (11.6, 0.2), 10: (26.4, 0.3), 50: (28.9, 0.4)},
}
_TABLE_2 = {
    "imagenette": {1: (57.2, 0.5), 10: (80.2, 0.7)},
    "imagewoof": {1: (30.6, 0.3), 10: (57.8, 1.1)},
    "imagefruit": {1: (30.6, 0.8), 10: (52.8, 0.7)},
    "imagemeow": {1: (39.4, 0.8), 10: (60.4, 1.1)},
    "imagesquawk": {1: (52.0, 0.5), 10: (77.2, 0.3)},
    "imageyellow": {1: (51.8, 1.1), 10: (78.8, 0.7)},
}
_UNPUBLISHED = {"digits": (1, 10)}
"""Sets of ours that no paper reports, and their images per class."""


@SETTINGS.register("dance")
def dance_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The paper's settings for images of ``resolution`` pixels, a rule for every other set too.

    Args:
        data: name or path.
        ipc: images per class; the step on the pixels grows with it by itself.
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


def _quick_config(data: str, ipc: int, resolution: int) -> RunConfig:
    return build_run(merge(to_plain(dance_config(data, ipc, resolution)), quick_settings(data)))


def _register(data: str, ipc: int, source: str, published: str) -> None:
    name = f"dance-{data.replace('_', '-')}-ipc{ipc}"
    command = f"dance condense {data} --ipc {ipc}"
    arguments = (data, ipc, KNOWN[data].size)
    full = Recipe(name, source, command, published, partial(dance_config, *arguments))
    quick = Recipe(
        f"{name}-quick",
        f"{source}, shortened for two cores",
        f"{command} --config quick",
        "no published number: the run is too short for one",
        partial(_quick_config, *arguments),
    )
    for recipe in (full, quick):
        RECIPES.register(recipe.name)(recipe)


for _number, _table in ((1, _TABLE_1), (2, _TABLE_2)):
    for _data, _row in _table.items():
        for _ipc, (_mean, _std) in _row.items():
            _text = f"accuracy {_mean} ± {_std} %, as published in Table {_number} of the paper"
            _register(_data, _ipc, f"{_PAPER}, Table {_number}", _text)
for _data, _ipcs in _UNPUBLISHED.items():
    for _ipc in _ipcs:
        _register(_data, _ipc, f"{_PAPER}, on a set that it does not use", "no published number")
