"""DREAM: distribution by representative matching (Liu et al., ICCV 2023): IDC on chosen images.

Algorithm 1. As IDC (:mod:`dance.methods.idc`), with two changes:

1. every 10 steps the real images of each class are clustered by k-means on the features of the
   network in training; the image nearest to each centroid represents its cluster, and the
   representatives are matched until the next clustering, each time under a new augmentation,
2. the stored images begin at the images nearest to the centroids of as many clusters as they have
   cells,
   by the features of an untrained network.

The representatives are in the state, since the network that chose them is gone when a run goes on.

Deviations from the released code: a cluster is keyed by (seed, step, class); a class that has no
more images than clusters gives all of them; batch norm embeds by its running statistics. As there,
the images are clustered without augmentation or normalisation, though the network was trained with
both, and an empty cluster has the zero vector as its centroid. The warm-up that its options name
and its code ignores works here (``warmup_epochs``). The run's own initial stored images are the
baseline that reports show, and the start where ``start`` is ``given``.
"""

from __future__ import annotations

from typing import Literal

import torch

from dance.core.config import AtLeastOne, Count, configuration
from dance.core.rng import keyed_generator
from dance.data.clustering import representatives
from dance.methods.base import METHODS, CondensationTask, Tensors
from dance.methods.idc import IDC, IDCConfig
from dance.methods.toolkit.distribution import forward, fresh_network, real_batch_size
from dance.networks import State

_CHOSEN = "representatives"


@configuration
class DREAMConfig(IDCConfig):
    """Settings of DREAM: those of IDC, and the clustering."""

    real_batch: Count = 128
    """Clusters of each class, and so real images per class and step; 0 takes all images."""
    network_batch: AtLeastOne = 128
    clustering_interval: AtLeastOne = 10
    """Steps between two clusterings, which begin anew with every network."""
    start: Literal["k_means", "given"] = "k_means"
    """What the stored images begin at: k_means (representatives of clusters) or given (as the run
    initialised them)."""


@METHODS.register("dream")
class DREAM(IDC):
    """DREAM; see the module's text."""

    title = "DREAM"
    paper = "Liu et al., ICCV 2023"
    year = 2023
    Config = DREAMConfig
    config: DREAMConfig
    shared = IDC.shared | {_CHOSEN}

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images of representatives, and room for a network and the chosen rows."""
        state = super().setup(task)
        sizes = self._sampler.sizes()
        self._places = torch.arange(sum(sizes)).split(sizes)
        state[_CHOSEN] = torch.zeros(sum(sizes), dtype=torch.int64)
        if self.config.start == "k_means":
            state["pixels"].copy_(self._start(task))
        return state

    def real_rows(
        self, task: CondensationTask, state: Tensors, label: int, iteration: int
    ) -> torch.Tensor:
        """The representatives of a class, chosen anew when it is time."""
        config, place = self.config, self._places[label]
        if iteration % config.network_steps % config.clustering_interval == 0:
            network = self._trainee.eaten(self._trainee.weights(state))
            generator = keyed_generator(task.seed, "clusters", iteration, label)
            chosen = self._nearest(task, network, label, len(place), generator)
            state[_CHOSEN][place] = chosen
        return state[_CHOSEN][place]

    def _nearest(
        self,
        task: CondensationTask,
        network: State,
        label: int,
        clusters: int,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Rows (clusters,) on the CPU of images of a class, each nearest to a centroid."""
        rows = task.train.rows(label)
        features = []
        with torch.no_grad():
            for part in rows.split(real_batch_size(task.device, task.train.resolution)):
                images = task.train.images[part].to(task.initial) / 255
                features.append(forward(task, task.network.embed, network, images))
        return rows[representatives(torch.cat(features), clusters, generator)].cpu()

    def _start(self, task: CondensationTask) -> torch.Tensor:
        """Stored images (K*ipc,C,S,S) whose cells show representatives by an untrained network."""
        network = fresh_network(task, keyed_generator(task.seed, "start network"))
        count, cells = task.decoder.images(task.ipc), task.decoder.images(1)
        index = []
        for label in task.classes:
            generator = keyed_generator(task.seed, "start clusters", label)
            chosen = self._nearest(task, network, label, count, generator)
            cell = torch.arange(count) % len(
                chosen
            )  # cell k of stored image j has number k * ipc + j
            index.append(chosen[cell].view(cells, task.ipc).T)
        train = task.train
        return task.decoder.encode_initial(train.images, torch.cat(index).to(train.images.device))
