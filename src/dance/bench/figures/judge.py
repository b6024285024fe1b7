"""The experts of a plan as judges: their accuracy on real test images and on condensed sets."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from dance.bench.figures import Finished
from dance.condensed import CondensedSet
from dance.data import load
from dance.evaluation.evaluator import accuracy
from dance.experts import Expert
from dance.networks import State, to_device
from dance.training import TrainingData
from dance.training.trainer import predict

if TYPE_CHECKING:
    from dance.engine import RunConfig
    from dance.engine.context import RunContext


class Judge:
    """Networks that were trained on the real images, and the images that they see.

    Nothing is loaded or trained before it is used.

    Args:
        bench: whose figure is made.
        config: whose data, network and experts are used.
    """

    def __init__(self, bench: Finished, config: RunConfig) -> None:
        self._bench, self.config = bench, config

    @property
    def context(self) -> RunContext:
        """Real training images and network."""
        return self._bench.context(self.config)

    @cached_property
    def experts(self) -> list[Expert]:
        """The experts of the configuration; missing ones are trained."""
        return list(self.context.pool().ensure(self.config.experts.count))

    @cached_property
    def real(self) -> TrainingData:
        """The real test images."""
        test = load(self.config.data, "test", self.config.source).to(self.context.device)
        return TrainingData(test.images, test.labels, self.context.train.normalization)

    def condensed(self, content: CondensedSet) -> TrainingData:
        """The decoded images of a set as the experts see them: standardised as real images are."""
        images, labels = content.decode()
        device, normalization = self.context.device, self.context.train.normalization
        return TrainingData(normalization.apply(images.detach().to(device)), labels.to(device))

    def accuracy(self, state: State, images: TrainingData) -> float:
        """Fraction of the images that a network with this state classifies correctly."""
        context = self.context
        state = to_device(state, context.device)
        found = predict(context.network, state, images, bfloat16=context.bfloat16)
        return accuracy(found, images.labels)
