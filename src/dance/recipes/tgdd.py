"""TGDD at the settings known of it, and its numbers as others list them.

Trajectory-guided dataset distillation (AAAI 2026): DANCE's settings, its experts kept at every
epoch, and the paper's weight of the cross-entropy as a reader of it reports; the numbers are from
there too, and were not checked against the paper.
"""

from __future__ import annotations

from dataclasses import fields, replace

from dance.engine import RunConfig
from dance.experts import ExpertConfig
from dance.experts.trajectories import TrajectoryConfig
from dance.methods import METHODS
from dance.recipes.base import QUICK, SETTINGS
from dance.recipes.dance import dance_config
from dance.recipes.rows import by_protocol, published_rows, without_experts

_LARGE_IPC = 50
"""Images per class from which the cross-entropy weighs less."""


@SETTINGS.register("tgdd")
def tgdd_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """TGDD for images of ``resolution`` pixels: what depends on it is DANCE's.

    Args:
        data: name or path.
        ipc: images per class; from 50 on the cross-entropy weighs 0.5, before 2.5.
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


def _published(data: str, ipc: int, resolution: int) -> RunConfig:
    return by_protocol(tgdd_config(data, ipc, resolution), "dance-v1")


published_rows("tgdd", "TGDD (AAAI 2026)", "tgdd", _published)
QUICK.register("tgdd")({"trajectories": {"count": 2, "epochs": 6}})
