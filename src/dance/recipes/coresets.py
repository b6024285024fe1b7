"""Selections of real images: their settings, and the recipes of the rows of the tables.

Nobody published settings for these rows, only rules (:mod:`dance.methods.herding`). The features
are those of one expert, trained as DANCE's experts are. Numbers of the DANCE paper's Table 1 are
copied there from earlier tables and were made without augmentation by the protocol of DC, so the
recipes score by ``dc-v1``; a bare command scores by ``dance-v1`` as for every other method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from dance.data.known import KNOWN
from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import RECIPES, SETTINGS, Recipe
from dance.recipes.dance import dance_config

_Table = Mapping[str, Mapping[int, tuple[float, float]]]

_METHODS = ("random", "herding", "k_center", "k_means")
_TABLE_1: Mapping[str, _Table] = {
    "random": {
        "fashion_mnist": {1: (51.4, 3.8), 10: (73.8, 0.7), 50: (82.5, 0.7)},
        "cifar10": {1: (14.4, 2.0), 10: (26.0, 1.2), 50: (43.4, 1.0)},
        "cifar100": {1: (4.2, 0.3), 10: (14.6, 0.5), 50: (30.0, 0.4)},
        "tiny_imagenet": {1: (1.4, 0.1), 10: (5.0, 0.2), 50: (15.0, 0.4)},
    },
    "herding": {
        "fashion_mnist": {1: (67.0, 1.9), 10: (71.1, 0.7), 50: (71.9, 0.8)},
        "cifar10": {1: (21.5, 1.2), 10: (31.6, 0.7), 50: (40.4, 0.6)},
        "cifar100": {1: (8.4, 0.3), 10: (17.3, 0.3), 50: (33.7, 0.5)},
        "tiny_imagenet": {1: (2.8, 0.2), 10: (6.3, 0.2), 50: (16.7, 0.3)},
    },
    "k_center": {
        "fashion_mnist": {1: (66.9, 1.8), 10: (54.7, 1.5), 50: (68.3, 0.8)},
        "cifar10": {1: (21.5, 1.3), 10: (14.7, 0.9), 50: (27.0, 1.4)},
        "cifar100": {1: (8.3, 0.3), 10: (7.1, 0.2), 50: (30.5, 0.3)},
    },
}
"""Mean and standard deviation in percent."""
_LEADERBOARD: _Table = {
    "cifar10": {1: (25.16, 22.89), 10: (41.49, 38.04), 50: (56.00, 53.06)},
    "cifar100": {1: (10.89, 9.47), 10: (25.04, 23.19), 50: (38.64, 36.59)},
    "tiny_imagenet": {1: (3.03, 2.65), 10: (11.38, 9.90), 50: (22.02, 20.90)},
}
"""Best and mean over augmentations in percent."""
_DC = "evaluated without augmentation as DC does (dc-v1), 5 sets of 20 networks each"
_ORIGIN = {
    "fashion_mnist": f"taken from DC (ICLR 2021): {_DC}",
    "cifar10": f"taken from DC (ICLR 2021): {_DC}",
    "cifar100": "taken from papers of 2021 and 2022 in the protocol of DC's family",
    "tiny_imagenet": "taken from DM (WACV 2023); whether with augmentation is not known",
}
"""Where the DANCE paper's Table 1 has its numbers from, and what made them."""


def coreset_config(method: str, data: str, ipc: int, resolution: int) -> RunConfig:
    """A selection for images of ``resolution`` pixels, with one expert where one is needed.

    Args:
        method: random, herding, k_center or k_means.
        data: name or path.
        ipc: images per class.
        resolution: H = W of the images in pixels.
    """
    chosen = METHODS.get(method)
    config = RunConfig(data=data, method=method, ipc=ipc, options=chosen.Config())
    if chosen(config.options).needs_experts():
        experts = replace(dance_config(data, ipc, resolution).experts, count=1)
        return replace(config, experts=experts)
    # Training experts only to be compared with is dear.
    kept = tuple(name for name in config.evaluation.baselines if name != "whole")
    return replace(config, evaluation=replace(config.evaluation, baselines=kept))


def _published(method: str, data: str, ipc: int, protocol: str) -> RunConfig:
    """The settings under the protocol that the published number is nearest to."""
    config = coreset_config(method, data, ipc, KNOWN[data].size)
    return replace(config, evaluation=replace(config.evaluation, protocol=protocol))


def _register(method: str, data: str, ipc: int, protocol: str, paper: str, expect: str) -> None:
    name = f"{method}-{data}-ipc{ipc}".replace("_", "-")
    command = f"dance condense --config {name}"
    config = partial(_published, method, data, ipc, protocol)
    RECIPES.register(name)(Recipe(name, paper, command, expect, config))


for _method in _METHODS:
    SETTINGS.register(_method)(partial(coreset_config, _method))
for _method, _table in _TABLE_1.items():
    for _data, _row in _table.items():
        for _ipc, (_mean, _std) in _row.items():
            _text = (
                f"accuracy {_mean} ± {_std} %, as published in Table 1 of the DANCE paper, "
                f"{_ORIGIN[_data]}"
            )
            _paper = f"{METHODS.get(_method).title}, DANCE (Zhang et al., IJCAI 2024), Table 1"
            _register(_method, _data, _ipc, "dc-v1", _paper, _text)
for _data, _row in _LEADERBOARD.items():
    for _ipc, (_best, _average) in _row.items():
        _text = (
            f"accuracy {_best:.2f} % at best and {_average:.2f} % on average over augmentations, "
            "as published on rank 0board of DC-Bench (where it is called K-Center): one "
            "selection, 5 networks"
        )
        _paper = "K-means selection, DC-Bench (Cui et al., NeurIPS 2022)"
        _register("k_means", _data, _ipc, "dsa-v1", _paper, _text)
