"""DC and DSA at their published settings, and the numbers of DANCE's Table 1.

Zhao, Mopuri & Bilen, Dataset Condensation with Gradient Matching (ICLR 2021), and Zhao & Bilen,
Dataset Condensation with Differentiable Siamese Augmentation (ICML 2021), and their released
program. A command without a recipe scores by ``dance-v1``, as for every method; the recipes score
by ``dc-v1`` and ``dsa-v1``, the protocols of the papers.
"""

from __future__ import annotations

from dataclasses import replace

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.methods.dc import outer_steps
from dance.recipes.base import QUICK, SETTINGS, always
from dance.recipes.rows import augmentation_for, published_rows, without_experts

_NETWORKS = 1000
"""Number of random networks with which the images are matched (K in the paper)."""


@SETTINGS.register("dc")
def dc_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """DC: 1000 networks, with a number of steps for each that depends on the images per class.

    Args:
        data: name or path.
        ipc: images per class.
        resolution: H = W of the images in pixels; it has no effect.
    """
    options = METHODS.get("dc").Config(iterations=_NETWORKS * outer_steps(ipc))
    return without_experts(
        RunConfig(data=data, method="dc", ipc=ipc, init="normal", options=options)
    )


@SETTINGS.register("dsa")
def dsa_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """DSA: DC from real images and with augmentation; images of digits are not mirrored.

    Args:
        data: name or path.
        ipc: images per class.
        resolution: H = W of the images in pixels; it has no effect.
    """
    options = METHODS.get("dsa").Config(iterations=_NETWORKS * outer_steps(ipc))
    options = replace(options, augmentation=augmentation_for(data, options.augmentation))
    return without_experts(
        RunConfig(data=data, method="dsa", ipc=ipc, init="random", options=options)
    )


_DC, _DSA = "DC (Zhao et al., ICLR 2021)", "DSA (Zhao & Bilen, ICML 2021)"
published_rows("dc", _DC, "dance_table_1", dc_config, protocol="dc-v1")
published_rows("dsa", _DSA, "dance_table_1", dsa_config, protocol="dsa-v1")
QUICK.register("dc")(always({"options": {"iterations": 15}}))
QUICK.register("dsa")(always({"options": {"iterations": 20}}))
