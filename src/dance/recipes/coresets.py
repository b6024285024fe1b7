"""Selections of real images: their settings, and recipes for published numbers.

No settings of these numbers were published, only the rules (:mod:`dance.methods.herding`). The
features are those of one expert, trained like DANCE's experts. The numbers in Table 1 of the DANCE
paper were copied from earlier tables and were made without augmentation by the protocol of DC, so
the recipes score by ``dc-v1``; a command without a recipe scores by ``dance-v1``, as for every
method.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import SETTINGS
from dance.recipes.dance import dance_config
from dance.recipes.published import table
from dance.recipes.rows import add, published_rows, without_experts

_METHODS = ("random", "herding", "k_center", "k_means")


def coreset_config(method: str, data: str, ipc: int, resolution: int) -> RunConfig:
    """A selection for images of ``resolution`` pixels, with one expert if it needs one.

    Args:
        method: random, herding, k_center or k_means.
        data: name or path.
        ipc: images per class.
        resolution: H = W of the images in pixels.
    """
    config = RunConfig(data=data, method=method, ipc=ipc)
    if config.make_method().needs_experts():
        experts = replace(dance_config(data, ipc, resolution).experts, count=1)
        return replace(config, experts=experts)
    return without_experts(config)


for _method in _METHODS:
    SETTINGS.register(_method)(partial(coreset_config, _method))
for _method in _METHODS[:3]:
    _paper = f"{METHODS.get(_method).title}, DANCE (Zhang et al., IJCAI 2024), Table 1"
    _config = partial(coreset_config, _method)
    published_rows(_method, _paper, "dance_table_1", _config, protocol="dc-v1")
_board = table("dc_bench")
for _best in _board.select(method="k_means", augmentation="best"):
    _data, _ipc = str(_best.where["data"]), int(_best.where["ipc"])
    (_mean,) = _board.select(method="k_means", augmentation="mean", data=_data, ipc=_ipc)
    _expect = (
        f"accuracy {_best.mean:.2f} % at best and {_mean.mean:.2f} % on average over "
        f"augmentations, as published on {_board.source('k_means', _data)}"
    )
    _paper = "K-means selection, DC-Bench (Cui et al., NeurIPS 2022)"
    _config = partial(coreset_config, "k_means")
    add("k_means", _data, _ipc, _config, _paper, _expect, protocol="dsa-v1")
