"""M3D at settings that were chosen for this library, and its numbers in later papers.

Zhang et al., M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy (AAAI 2024). Of its
settings, only the factor is known, which is IDC's; see :mod:`dance.methods.m3d`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.recipes.base import DIVISIBLE_RESOLUTION, SETTINGS
from dance.recipes.dance import dance_config
from dance.recipes.rows import published_rows, without_experts

_SMALLEST: Mapping[str, Any] = {"learning_rate": 0.1}
"""Settings for images that are not divided, chosen on held-out training images of the digits; the
defaults were chosen on CIFAR-10."""


@SETTINGS.register("m3d")
def m3d_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """M3D for images of ``resolution`` pixels; the factor is DANCE's, which is IDC's.

    Args:
        data: name or path.
        ipc: images per class; the method scales the step on the pixels with it.
        resolution: H = W of the images in pixels.
    """
    config = dance_config(data, ipc, resolution)
    options = METHODS.get("m3d").Config(**(_SMALLEST if resolution < DIVISIBLE_RESOLUTION else {}))
    return without_experts(replace(config, method="m3d", options=options))


published_rows("m3d", "M3D (Zhang et al., AAAI 2024)", "m3d", m3d_config, protocol="idc-v1")
