"""The one configuration of a run, and what of it decides the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dance.data.config import DataConfig
from dance.evaluation.protocol import EvaluationConfig
from dance.experts.recipe import ExpertConfig
from dance.experts.teacher import TeacherConfig
from dance.experts.trajectories import TrajectoryConfig
from dance.networks.protocol import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run.

    Attributes:
        data: name of a known set (``dance list datasets``) or a path.
        method: one of ``dance list methods``.
        ipc: images per class that are stored.
        factor: l; each stored image is a grid of l x l smaller ones that are scaled up for
            training. 1 switches factoring off.
        init: what the stored images start from: the ``first`` real images of each class (released
            code), ``random`` real images (the paper's words), a ``collage`` of random real images
            that are shrunk smoothly (IDM), uniform ``noise``, or ``normal`` noise of the mean and
            deviation of the data.
        whitening: ``zca`` for networks that see whitened images, condensed and unseen ones alike;
            the transform is stored with the set.
        networks: networks that the finished set is scored with.
        labels: hard, or soft: what experts call the images, stored with the set; networks then
            learn these.
        seed: of every random draw.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``; does not decide the result.
        precision: ``float32``, or ``bfloat16`` for the arithmetic of the networks.
        chunk: classes that are forwarded together (none: as many as memory allows); does not
            decide the result beyond rounding.
        memory_limit: what condensing may hold on the device (the CPU: in the process), such as
            ``8GB``; decides how many classes go through one forward where ``chunk`` does not (none:
            what the device has); does not decide the result beyond rounding.
        source: how the data set is read.
        network: the network of experts and matching.
        experts: training of the experts.
        trajectories: training of the networks that a method imitates epoch by epoch.
        options: settings of the method (``dance show METHOD``).
        evaluation: how the set is scored.
        teacher: which experts give soft labels.
    """

    data: str
    method: str = "dance"
    ipc: int = 10
    factor: int = 1
    init: Literal["first", "random", "collage", "noise", "normal"] = "first"
    whitening: Literal["none", "zca"] = "none"
    networks: tuple[str, ...] = ("convnet",)
    labels: Literal["hard", "soft"] = "hard"
    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    chunk: int | None = None
    memory_limit: str | None = None
    source: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    experts: ExpertConfig = field(default_factory=ExpertConfig)
    trajectories: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    options: Any = None
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
