"""DREAM at its published settings, and the numbers of DANCE's Table 1.

Liu et al., DREAM: Efficient Dataset Distillation by Representative Matching (ICCV 2023), and the
released settings. A command without a recipe scores by ``dance-v1``, as for every method; the
recipes score by ``idc-v1``, also the protocol of DREAM.
"""

from __future__ import annotations

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import QUICK, SETTINGS, always, factor_for
from dance.recipes.idc import KNOWN_DATA, scaled_options
from dance.recipes.rows import published_rows, without_experts

_TINY_IMAGENET = {"real_batch": 64, "network_batch": 64, "network_images": 1000}
_TINY_IMAGENET_LARGE_IPC, _TINY_IMAGENET_RATE = 50, 1e-7
"""Images per class from which TinyImageNet has this 5000 times lower learning rate, as released."""


@SETTINGS.register("dream")
def dream_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """DREAM for images of ``resolution`` pixels; CIFAR's settings for more than 64 pixels.

    Args:
        data: name or path.
        ipc: images per class; the method scales the step on the stored images with it.
        resolution: H = W of the images in pixels.
    """
    changes = scaled_options(resolution) | dict(KNOWN_DATA.get(data, {}))
    if data == "tiny_imagenet":
        changes |= _TINY_IMAGENET
        if ipc >= _TINY_IMAGENET_LARGE_IPC:
            changes["learning_rate"] = _TINY_IMAGENET_RATE
    options = METHODS.get("dream").Config(**changes)
    return without_experts(
        RunConfig(
            data=data, method="dream", ipc=ipc, factor=factor_for(resolution), options=options
        )
    )


_PAPER = "DREAM (Liu et al., ICCV 2023)"
published_rows("dream", _PAPER, "dance_table_1", dream_config, protocol="idc-v1")
QUICK.register("dream")(always({"options": {"iterations": 25}}))
