"""DM: condensation with distribution matching (Zhao & Bilen, WACV 2023).

Algorithm 1. Each iteration

1. draws a fresh, untrained network psi, whose classifier is not used,
2. for every class, augments a real batch and all synthetic images by one operation of DSA with the
   same parameters,
3. takes one SGD step for all classes on the sum over classes of the squared distance of the mean
   real and the mean synthetic feature, summed over feature dimensions (Eq. 4).

Deviations from the paper, which follow the released code that made the published numbers: one
network and one augmentation a class stand for the two expectations; the loss is summed, not
averaged, over classes and dimensions, which is what gives learning rate 1 its meaning; and the
step is not scaled with the images per class. The log shows the mean over classes.

Deviations from the released code: all classes share one forward, which instance norm permits;
classes smaller than the real batch give all their images, where the released code stops; any
number of images per class may be asked for; an empty ``augmentation`` is none.

With batch norm, as in the released code, all real images go through one forward in training mode
and all synthetic ones through another, so that each side is normalised by its own statistics and
the classes are coupled: one process condenses them all, and ``chunk`` has no effect.
"""

from __future__ import annotations

import copy

import torch

from dance.augment import Strategy
from dance.core.config import AtLeastOne, Count, Momentum, Positive, configuration
from dance.core.rng import keyed_generator
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.distribution import (
    Chunk,
    RealFeatures,
    SyntheticImages,
    forward,
    fresh_network,
    has_batch_norm,
    pictures,
    real_batch_size,
    single_operation,
)
from dance.networks import Network
from dance.objectives.moments import class_means, mean_distance


@configuration
class DMConfig:
    """Settings of DM; the defaults are those that made the published numbers."""

    iterations: AtLeastOne = 20_000
    """Steps on the stored images, each with a network of its own."""
    learning_rate: Positive = 1.0
    """Learning rate of SGD on standardised pixels, for every number of images per class (published:
    10 from 100 images per class on; 0.1 or 0.01 for ResNets)."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the pixels."""
    real_batch: Count = 256
    """Real images per class and iteration; 0 takes all."""
    augmentation: Strategy = "color_crop_cutout_flip_scale_rotate"
    """Operations of DSA, of which every class draws one; empty: none."""


@METHODS.register("dm")
class DM(Condenser):
    """DM; see the module's text."""

    title = "DM"
    paper = "Zhao & Bilen, WACV 2023"
    year = 2023
    space = "normalized"
    whitens = True
    Config = DMConfig
    config: DMConfig

    @property
    def iterations(self) -> int:
        """K of Algorithm 1."""
        return self.config.iterations

    def couples(self, network: Network) -> bool:
        """Batch norm normalises all classes together."""
        return has_batch_norm(network)

    def real_images(self, device: torch.device, resolution: int) -> int:
        """Those of a forward where classes do not couple."""
        return real_batch_size(device, resolution)

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images and their momentum."""
        config, whole = self.config, has_batch_norm(task.network)
        self._network = copy.deepcopy(task.network).train()
        together = None if whole else self.real_images(task.device, task.train.resolution)
        self._real = RealFeatures(task, config.real_batch, together)
        self._synthetic = SyntheticImages(
            task,
            config.learning_rate,
            config.momentum,
            "joint",
            chunk=task.train.num_classes if whole else None,
        )
        return self._synthetic.start()

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One iteration of Algorithm 1."""
        psi = fresh_network(task, keyed_generator(task.seed, "network", iteration))
        change = single_operation(task, self.config.augmentation, iteration)

        def embed(images: torch.Tensor) -> torch.Tensor:
            return forward(task, self._network.embed, psi, images)

        real = self._real.means(embed, change, self._real.rows(iteration).to(task.device))

        def view(stored_images: torch.Tensor, chunk: Chunk) -> torch.Tensor:
            return change(pictures(task, stored_images, self.space), chunk.owners)

        def losses(chunk: Chunk, images: torch.Tensor) -> Tensors:
            means = class_means(embed(images), chunk.sizes)
            return {"matching": mean_distance(real[chunk.classes], means)}

        return self._synthetic.descend(state, view, losses, {"matching": 1.0})
