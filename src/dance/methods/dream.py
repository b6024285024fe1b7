"""DREAM: distribution by representative matching (Liu et al., ICCV 2023): IDC on chosen images.

Algorithm 1. As IDC (:mod:`dance.methods.idc`), with two changes:

1. every 10 steps the real images of each class are clustered by k-means on the features of the
   network in training; the image nearest to each centroid represents its cluster, and the
   representatives are matched until the next clustering, each time under a new augmentation,
2. the stored images start from the images nearest to centroids, with one cluster for each cell of
   the stored images, by the features of an untrained network.

The representatives are in the state, since the network that chose them is not available when a run
resumes.

Deviations from the released code: its outer iteration 0 continues with the network that chose the
start, while every network is a new one here; the clustering is keyed by (seed, step, class); a
class with no more images than clusters gives all of them; batch norm embeds by its running
statistics. As there, the images are clustered without augmentation or normalisation, though the
network was trained with both, and an empty cluster has the zero vector as its centroid. The
warm-up, which is an option there that the code ignores, works here (``warmup_epochs``). The run's
own initial stored images are the baseline that reports show, and the start if ``start`` is
``given``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from dance.core.config import AtLeastOne, Count, configuration
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods.base import METHODS, SHARED, CondensationTask, InnerNetworkState
from dance.methods.idc import IDC, IDCCondensation, IDCConfig
from dance.methods.toolkit.clustering import representatives
from dance.methods.toolkit.images import stored_images
from dance.methods.toolkit.inner_network import zero_network_tensors
from dance.methods.toolkit.network import TaskNetwork
from dance.networks import State


@configuration
class DREAMConfig(IDCConfig):
    """Settings of DREAM: those of IDC, and the clustering."""

    real_batch: Count = 128
    """Number of clusters and so of real images per class and step; 0 takes all images."""
    network_batch: AtLeastOne = 128
    clustering_interval: AtLeastOne = 10
    """Steps between two clusterings; every new network starts with a clustering."""
    start: Literal["k_means", "given"] = "k_means"
    """Initial stored images: k_means (representatives of the clusters of real images) or given
    (those of the run)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DREAMState(InnerNetworkState):
    """Stored images, the network, and the real images that are matched.

    Attributes:
        representatives: (n,) int64 on the CPU, rows of the representatives of all classes, class
            after class.
    """

    representatives: torch.Tensor = field(metadata=SHARED)


class DREAMCondensation(IDCCondensation[DREAMState]):
    """A run of DREAM on a task."""

    def __init__(self, task: CondensationTask, config: DREAMConfig) -> None:
        sizes = ClassSampler(task.train, config.real_batch, task.seed).sizes()
        state = DREAMState.with_zero_momentum(
            task.initial,
            **zero_network_tensors(task),
            representatives=torch.zeros(sum(sizes), dtype=torch.int64),
        )
        super().__init__(task, config, state)
        self._representatives: tuple[torch.Tensor, ...] = state.representatives.split(sizes)
        self._interval = config.clustering_interval
        self._embedding = TaskNetwork(task)
        if config.start == "k_means":
            state.pixels.copy_(self._initial_pixels())

    def step_kind(self, iteration: int) -> int:
        """2 more where images are clustered than in IDC."""
        return super().step_kind(iteration) + 2 * self._clusters(iteration)

    def _clusters(self, iteration: int) -> bool:
        """Whether the images are clustered in an iteration."""
        return iteration % self._config.network_steps % self._interval == 0

    def real_rows(self, label: int, iteration: int) -> torch.Tensor:
        """The representatives of a class, chosen again every ``clustering_interval`` steps."""
        own = self._representatives[label]
        if self._clusters(iteration):
            generator = keyed_generator(self.task.seed, "clusters", iteration, label)
            own.copy_(self._nearest_to_centroids(self.inner.state(), label, len(own), generator))
        return own

    def _nearest_to_centroids(
        self, network: State, label: int, clusters: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Rows (clusters,) on the CPU of images of a class, each nearest to a centroid."""
        train, rows = self.task.train, self.task.train.rows(label)
        features = []
        with torch.no_grad():
            for part in rows.split(self.task.shape.forward_batch):
                images = train.images[part].to(self.task.initial) / 255
                features.append(self._embedding.embed(network, images))
        chosen = representatives(torch.cat(features), clusters, generator)
        return rows[chosen].cpu()

    def _initial_pixels(self) -> torch.Tensor:
        """Stored images (K*ipc,C,S,S) of the representatives that an untrained network gives."""
        task = self.task
        network = self._embedding.fresh(keyed_generator(task.seed, "start network"))

        def choose(label: int, count: int) -> torch.Tensor:
            """Rows of the representatives of a class."""
            generator = keyed_generator(task.seed, "start clusters", label)
            return self._nearest_to_centroids(network, label, count, generator)

        return stored_images(task, choose)


@METHODS.register("dream")
class DREAM(IDC):
    """DREAM; see the module's text."""

    title = "DREAM"
    paper = "Liu et al., ICCV 2023"
    year = 2023
    Config = DREAMConfig
    config: DREAMConfig

    def start(self, task: CondensationTask) -> DREAMCondensation:
        """Begin with stored images of representatives and zero-initialised other tensors."""
        return DREAMCondensation(task, self.config)
