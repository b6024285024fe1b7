"""NCFM as released and as the paper describes it, and the numbers of both rows of its tables.

Wang et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective (CVPR
2025). ``ncfm-<data>-ipc<n>`` is the released code with hard labels, whose numbers are the row
"fixed frequencies" of the paper's ablation where it has one; its main table has soft labels or
fine-tuning in many cells. ``-paper`` is the minmax of the text, with learned frequencies, random
real batches and no decay of the pixels, whose numbers are the row "with psi"; no released code
computes that, and its settings besides are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from dance.data.known import KNOWN
from dance.engine import RunConfig
from dance.experts.recipe import ExpertConfig
from dance.methods import METHODS
from dance.recipes.base import RECIPES, SETTINGS, Recipe
from dance.recipes.dance import dance_config
from dance.recipes.rows import by_protocol

_LARGE = 64
"""Side in pixels above which experts train for longer."""

_MAIN: Mapping[str, Mapping[int, str]] = {
    "cifar10": {1: "49.5 ± 0.3", 10: "71.8 ± 0.3", 50: "77.4 ± 0.3"},
    "cifar100": {1: "34.4 ± 0.5", 10: "48.7 ± 0.3", 50: "54.7 ± 0.2"},
    "tiny_imagenet": {1: "18.2 ± 0.5", 10: "26.8 ± 0.6", 50: "29.6 ± 0.5"},
    "imagenette": {1: "53.4", 10: "77.6"},
    "imagewoof": {1: "27.2", 10: "48.4"},
    "imagefruit": {1: "29.2", 10: "44.8"},
    "imagemeow": {1: "34.6", 10: "58.2"},
    "imagesquawk": {1: "41.6", 10: "72.8"},
    "imageyellow": {1: "46.6", 10: "74.2"},
}
_ABLATION: Mapping[str, Mapping[int, tuple[float, float]]] = {
    "cifar10": {10: (65.6, 68.9), 50: (74.2, 77.4)},
    "cifar100": {10: (45.9, 48.7), 50: (53.7, 54.4)},
    "tiny_imagenet": {1: (9.4, 12.0), 10: (14.2, 24.3), 50: (22.0, 26.5)},
    "imagefruit": {10: (39.6, 41.4)},
    "imagemeow": {10: (51.6, 54.4)},
    "imagesquawk": {10: (68.8, 70.8)},
    "imageyellow": {10: (67.6, 69.2)},
}
"""Without soft labels and fine-tuning: at fixed and at learned frequencies."""


@SETTINGS.register("ncfm")
def ncfm_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """NCFM as released for images of ``resolution`` pixels, at factor 2 for 128 pixels too.

    Those that are too small to be shared, by DANCE's rule, are kept whole.

    Args:
        data: name or path.
        ipc: images per class; 10 of CIFAR-100 have another optimiser.
        resolution: H = W of the images in pixels.
    """
    options = METHODS.get("ncfm").Config()
    if data == "cifar100" and ipc == 10:
        options = replace(options, optimiser="sgd", learning_rate=0.01)
    experts = ExpertConfig(count=20, epochs=80 if resolution > _LARGE else 60, batch_size=128)
    factor = min(2, dance_config(data, ipc, resolution).factor)
    return RunConfig(
        data=data, method="ncfm", ipc=ipc, factor=factor, experts=experts, options=options
    )


def paper_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The same as the paper's text has it, where it says something; what it leaves out is kept."""
    config = ncfm_config(data, ipc, resolution)
    options = replace(
        config.options, sampling="learned", frequencies=1024, real="random", weight_decay=0.0
    )
    return replace(config, options=options)


def _released(data: str, ipc: int, resolution: int) -> RunConfig:
    return by_protocol(ncfm_config(data, ipc, resolution), "ncfm-v1")


def _paper(data: str, ipc: int, resolution: int) -> RunConfig:
    return by_protocol(paper_config(data, ipc, resolution), "ncfm-v1")


def _register(name: str, source: str, expect: str, config: partial[RunConfig]) -> None:
    command = f"dance condense --config {name}"
    RECIPES.register(name)(Recipe(name, source, command, expect, config))


for _data, _row in _MAIN.items():
    for _ipc, _number in _row.items():
        _name = f"ncfm-{_data}-ipc{_ipc}".replace("_", "-")
        _at = (_data, _ipc, KNOWN[_data].size)
        _rows = _ABLATION.get(_data, {}).get(_ipc)
        _main = f"accuracy {_number} %, as published in the main table, in part with soft labels"
        _source = "NCFM (Wang et al., CVPR 2025)"
        _text = f"{_main}; no number is published for these settings alone"
        if _rows:
            _text = (
                f"accuracy {_rows[0]} %, as published in the ablation for fixed frequencies and "
                f"hard labels; {_main}"
            )
        _register(_name, f"{_source}, as released", _text, partial(_released, *_at))
        if _rows:
            _text = f"accuracy {_rows[1]} %, as published in the ablation with hard labels; {_main}"
            _register(
                f"{_name}-paper", f"{_source}, as the paper has it", _text, partial(_paper, *_at)
            )
