"""NCFM as released and as described in the paper, and the numbers for both in its tables.

Wang et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective (CVPR
2025). ``ncfm-<data>-ipc<n>`` is the released code with hard labels, whose numbers are the row
"fixed frequencies" of the paper's ablation, if it has one; many numbers of its main table were made
with soft labels or fine-tuning. ``-paper`` is the minmax problem of the text, with learned
frequencies, random real batches and no weight decay of the pixels, whose numbers are the row "with
psi"; no released code computes it, and its other settings are not known.
"""

from __future__ import annotations

from dataclasses import replace

from dance.engine import RunConfig
from dance.experts import ExpertConfig
from dance.methods import METHODS
from dance.recipes.base import LOW_RESOLUTION, QUICK, SETTINGS, always, factor_for
from dance.recipes.published import table
from dance.recipes.rows import add


@SETTINGS.register("ncfm")
def ncfm_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """NCFM as released for images of ``resolution`` pixels, at factor 2 also for 128 pixels.

    Args:
        data: name or path.
        ipc: images per class; CIFAR-100 with 10 has another optimiser.
        resolution: H = W of the images in pixels.
    """
    options = METHODS.get("ncfm").Config()
    if data == "cifar100" and ipc == 10:
        options = replace(options, optimiser="sgd", learning_rate=0.01)
    experts = ExpertConfig(
        count=20, epochs=80 if resolution > LOW_RESOLUTION else 60, batch_size=128
    )
    factor = min(2, factor_for(resolution))
    return RunConfig(
        data=data, method="ncfm", ipc=ipc, factor=factor, experts=experts, options=options
    )


def paper_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """The settings in the text of the paper, and the released ones where it has none."""
    config = ncfm_config(data, ipc, resolution)
    options = replace(
        config.options, sampling="learned", frequencies=1024, real="random", weight_decay=0.0
    )
    return replace(config, options=options)


_PAPER, _PROTOCOL = "NCFM (Wang et al., CVPR 2025)", "ncfm-v1"
_main, _ablation = table("ncfm"), table("ncfm_ablation")
for _row in _main.numbers:
    _data, _ipc = str(_row.where["data"]), int(_row.where["ipc"])
    _soft = f"accuracy {_row} %, as published in {_main.source('ncfm', _data)}"
    _hard = {
        _number.where["frequencies"]: f"accuracy {_number} %, as published in the ablation"
        for _number in _ablation.select(data=_data, ipc=_ipc)
    }
    _expect = f"{_soft}; no number is published for these settings alone"
    if _hard:
        _expect = f"{_hard['fixed']} for fixed frequencies and hard labels; {_soft}"
    _from = f"{_PAPER}, as released"
    add("ncfm", _data, _ipc, ncfm_config, _from, _expect, protocol=_PROTOCOL)
    if _hard:
        _expect = f"{_hard['learned']} with hard labels; {_soft}"
        _from = f"{_PAPER}, settings of the paper"
        add("ncfm", _data, _ipc, paper_config, _from, _expect, "-paper", protocol=_PROTOCOL)
QUICK.register("ncfm")(always({"options": {"real_batch": 128, "frequencies": 1024}}))
