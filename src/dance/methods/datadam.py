"""DataDAM: dataset distillation with attention matching (Sajedi et al., ICCV 2023).

Algorithm 1. Each iteration

1. draws a fresh, untrained network,
2. for every class, augments a real batch and all synthetic images by one operation of DSA with the
   same parameters,
3. takes one SGD step for all classes on 100 (L_att + lambda L_out): L_att sums, over layers and
   positions, the squared distance between the mean spatial attention of the real and of the
   synthetic images (:func:`dance.objectives.attention.spatial_attention`) after every ReLU but the
   last; L_out is DM's distance of the mean embeddings.

Both terms compare class means, so the attention of all layers and the embedding are matched as one
long feature. The log shows L_att + lambda L_out as a mean over classes.

Deviations from the paper, which follow the released code: the attention power is 1 (4 in the
paper's table: ``power: 4``), the loss is summed over classes and multiplied by 100, and learning
rate 1 is meant for this scale. The published numbers come from a batch-norm network, for CIFAR
probably on whitened images (``whitening: zca_standardised`` in the run), although the paper's table
states instance norm; the recipes ``datadam-...`` are the published form as far as it is known,
``...-code`` the code as released and ``...-paper`` the paper's table.

A network of one block, which is the default for images of 8 pixels, has no attention to match: the
loss is then DM's distance.

Deviations from the released code: classes smaller than the real batch give all their images, while
the code stops; the code's own initial tensors are not used; whitening does not whiten the stored
images a second time. With batch norm all real images go through one forward in training mode and
all synthetic ones through another, as in DM; with instance norm chunks of classes are exact.
"""

from __future__ import annotations

import torch

from dance.core.config import AtLeastOne, Count, NonNegative, Positive, configuration
from dance.core.rng import keyed_generator
from dance.methods.base import METHODS, CondensationTask, Tensors
from dance.methods.dm import DM, DMCondensation, DMConfig
from dance.methods.toolkit.distribution import Chunk
from dance.networks import State
from dance.objectives.attention import spatial_attention
from dance.objectives.moments import class_means, mean_distance

_SCALE = 100.0
"""Factor of both terms, as released; changing it is equivalent to changing the learning rate."""


@configuration
class DataDAMConfig(DMConfig):
    """Settings of DataDAM; the defaults are those of the released code."""

    iterations: AtLeastOne = 20_000
    """Steps of the stored images, each with its own network (8000 in the paper)."""
    learning_rate: Positive = 1.0
    """Learning rate of SGD on standardised pixels (published: 10 above 50 images per class)."""
    real_batch: Count = 64
    """Real images per class and iteration; 0 takes all."""
    power: AtLeastOne = 1
    """Exponent p of the spatial attention (4 in the paper)."""
    balance: NonNegative = 0.01
    """Weight lambda of the distance of the embeddings (published: 0.02 for the ImageNet
    subsets)."""


class DataDAMCondensation(DMCondensation):
    """A run of DataDAM on a task."""

    def __init__(self, task: CondensationTask, config: DataDAMConfig) -> None:
        super().__init__(task, config)
        self._power, self._balance = config.power, config.balance

    def step(self, iteration: int) -> Tensors:
        """One iteration of Algorithm 1."""
        network = self.network.fresh(keyed_generator(self.task.seed, "network", iteration))
        last = self.task.network.embedding_size

        def embed(images: torch.Tensor) -> torch.Tensor:
            return self.network.call(self._layers, network, images)

        def matching(chunk: Chunk, real: torch.Tensor, images: torch.Tensor) -> Tensors:
            """L_att + lambda L_out, one number per class."""
            means = class_means(embed(images), chunk.sizes)
            attention = mean_distance(real[:, :-last], means[:, :-last])
            output = mean_distance(real[:, -last:], means[:, -last:])
            return {"matching": attention + self._balance * output}

        return self.match_means(iteration, embed, matching, {"matching": _SCALE})

    def _layers(self, network: State, images: torch.Tensor) -> torch.Tensor:
        """Attention of all layers, then the embedding, (n,positions+D)."""
        *maps, embedding = self.network.skeleton.maps(network, images)
        attention = [spatial_attention(m, self._power) for m in maps]
        return torch.cat([*attention, embedding], 1)


@METHODS.register("datadam")
class DataDAM(DM):
    """DataDAM; see the module's text."""

    title = "DataDAM"
    paper = "Sajedi et al., ICCV 2023"
    year = 2023
    Config = DataDAMConfig
    config: DataDAMConfig

    def start(self, task: CondensationTask) -> DataDAMCondensation:
        """Begin with the initial stored images, with zero momentum."""
        return DataDAMCondensation(task, self.config)
