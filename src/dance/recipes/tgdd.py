"""TGDD at the settings that are known, and its numbers as reported by others.

Trajectory-guided dataset distillation (AAAI 2026): DANCE's settings, with its experts stored after
each epoch, and the paper's weight of the cross-entropy. This weight and the numbers are from a
reader's report, and were not compared with the paper.
"""

from __future__ import annotations

from dataclasses import fields, replace

from dance.engine import RunConfig
from dance.experts import ExpertConfig
from dance.experts.trajectories import TrajectoryConfig
from dance.methods import METHODS
from dance.recipes.base import QUICK, SETTINGS, always
from dance.recipes.dance import dance_config
from dance.recipes.rows import published_rows, without_experts

_LARGE_IPC = 50
"""Images per class from which the weight of the cross-entropy is lower."""


@SETTINGS.register("tgdd")
def tgdd_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """TGDD for images of ``resolution`` pixels, with the settings of DANCE for these.

    Args:
        data: name or path.
        ipc: images per class; the weight of the cross-entropy is 0.5 from 50 on, else 2.5.
        resolution: H = W of the images in pixels.
    """
    config = dance_config(data, ipc, resolution)
    recipe = {field.name: getattr(config.experts, field.name) for field in fields(ExpertConfig)}
    options = METHODS.get("tgdd").Config(
        learning_rate=config.options.learning_rate,
        calibration_weight=0.5 if ipc >= _LARGE_IPC else 2.5,
    )
    return without_experts(
        replace(config, method="tgdd", trajectories=TrajectoryConfig(**recipe), options=options)
    )


published_rows("tgdd", "TGDD (AAAI 2026)", "tgdd", tgdd_config, protocol="dance-v1")
QUICK.register("tgdd")(always({"trajectories": {"count": 2, "epochs": 6}}))
