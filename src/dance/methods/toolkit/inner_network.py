"""A network that is trained between the steps of a condenser, all of it in tensors of the state.

Weights, momentum and buffers are flat vectors whose names do not depend on the network, so that a
checkpoint holds them and a run that resumes from it trains as if it had not been interrupted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from dance.augment import Strategy
from dance.augment.cutmix import Mix, apply_mix
from dance.core.config import AtLeastOne, Count, Momentum, Positive, configuration
from dance.methods.base import CondensationTask, InnerNetworkState, Tensors
from dance.methods.toolkit.images import batch_operation
from dance.methods.toolkit.network import TaskNetwork
from dance.networks import State
from dance.networks.state_vector import buffer_layout, parameter_layout
from dance.training.optimisers import flat_sgd_step


@configuration
class InnerNetworkConfig:
    """Settings of methods that train one network after the other on the synthetic images."""

    momentum: Momentum = 0.5
    """Momentum of SGD on the images, which is kept from one network to the next."""
    real_batch: Count = 256
    """Real images per class and step; 0 takes all."""
    augmentation: Strategy = ""
    """Operations of siamese augmentation, of which one is drawn per class and step; empty: none."""
    network_learning_rate: Positive = 0.01
    """Learning rate of the inner training of a network."""
    network_batch: AtLeastOne = 256
    """Images per step of the inner training of a network."""


class InnerNetwork:
    """A network in training whose numbers are given tensors, which change in place.

    Args:
        network: the network of the task, in training mode: it moves the running means of batch
            norm.
        weights: (P,) parameters.
        velocity: (P,) momentum of the parameters.
        buffers: (B,), or None if the network has no buffers.

    Attributes:
        network: the network of the task, in training mode.
        weights: (P,) parameters.
        velocity: (P,) momentum of the parameters.
        buffers: (B,), or None if the network has no buffers.
    """

    def __init__(
        self,
        network: TaskNetwork,
        weights: torch.Tensor,
        velocity: torch.Tensor,
        buffers: torch.Tensor | None,
    ) -> None:
        self.network, self.weights, self.velocity = network, weights, velocity
        self.buffers = buffers
        self._trained = parameter_layout(network.skeleton)
        self._buffer_layout = buffer_layout(network.skeleton)
        self._counters = {
            name
            for name, buffer in network.skeleton.named_buffers()
            if not buffer.is_floating_point()
        }

    @staticmethod
    def of(task: CondensationTask, state: InnerNetworkState) -> InnerNetwork:
        """The network in the state of a run."""
        tensors = (state.network, state.network_velocity, state.network_buffers)
        return InnerNetwork(TaskNetwork(task, training=True), *tensors)

    def renew(self, generator: torch.Generator) -> None:
        """Replace this network by an untrained one with zero momentum."""
        drawn = self.network.skeleton.initial(generator)
        self.weights.copy_(self._trained.flatten(drawn))
        self.velocity.zero_()
        if self.buffers is not None:
            self.buffers.copy_(self._buffer_layout.flatten(drawn))

    def state(self, *, copy_buffers: bool = False) -> State:
        """The parameters and buffers by name, as the skeleton takes them: views of the tensors.

        Counters of batches, which no network here reads, are copies: the skeleton has them as
        integers, and the vector of buffers has them as floats.

        Args:
            copy_buffers: copy all buffers, so that a forward in training mode does not move them.
        """
        state = self._trained.views(self.weights)
        if self.buffers is not None:
            buffers = self.buffers.clone() if copy_buffers else self.buffers
            state |= self._buffer_layout.views(buffers)
        return {n: t.long() if n in self._counters else t for n, t in state.items()}

    def observe(self, images: torch.Tensor) -> None:
        """Update batch norm's running means once by standardised images (n,C,H,W)."""
        with torch.no_grad():
            self.network.logits(self.state(), images)

    def gradient(
        self, images: torch.Tensor, labels: torch.Tensor, mix: Mix | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient of the mean cross-entropy of a batch; batch norm's running means move.

        Args:
            images: (n,C,H,W) standardised and augmented.
            labels: (n,) int64 on the device.
            mix: CutMix of the batch, if any.

        Returns:
            The gradient (P,), and the logits (n,K) without a graph.
        """
        state = self.state()
        leaves = {name: state[name].detach().requires_grad_() for name in self._trained.shapes}
        if mix is not None:
            images = apply_mix(images, mix)
        logits = self.network.logits(state | leaves, images)
        loss = functional.cross_entropy(logits, labels)
        if mix is not None:
            other = functional.cross_entropy(logits, labels[mix.partner.to(labels.device)])
            loss = mix.lam * loss + (1 - mix.lam) * other
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        return self._trained.flatten(dict(zip(leaves, gradients, strict=True))), logits.detach()

    def train(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        learning_rate: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        mix: Mix | None = None,
    ) -> None:
        """One step of SGD on the mean cross-entropy of a batch, as :meth:`gradient` takes it.

        Args:
            images: (n,C,H,W) standardised and augmented.
            labels: (n,) int64 on the device.
            learning_rate: of SGD.
            momentum: of SGD.
            weight_decay: weight of the L2 penalty on all parameters.
            mix: CutMix of the batch, if any.
        """
        gradient, _ = self.gradient(images, labels, mix)
        flat_sgd_step(self.weights, self.velocity, gradient, learning_rate, momentum, weight_decay)

    def train_epoch(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        order: torch.Generator,
        batch_size: int,
        augmentation: str,
        generators: Callable[[int], torch.Generator],
        learning_rate: float,
        momentum: float = 0.0,
    ) -> None:
        """One pass over images in a random order.

        Args:
            images: (n,C,H,W) standardised.
            labels: (n,) int64 on the device.
            order: draws the order.
            batch_size: images of a step; the last one takes what is left.
            augmentation: operations, of which one is drawn per batch; empty: none.
            generators: from the number of a batch in the pass to the generator of its operation.
            learning_rate: of SGD.
            momentum: of SGD.
        """
        every = torch.randperm(len(images), generator=order).to(images.device)
        for number, rows in enumerate(every.split(batch_size)):
            operation = batch_operation(
                augmentation, len(rows), images.shape[-1], generators(number)
            )
            self.train(operation(images[rows]), labels[rows], learning_rate, momentum)


def zero_network_tensors(task: CondensationTask) -> Tensors:
    """Zero-initialised tensors for the network of an :class:`InnerNetworkState`.

    :meth:`InnerNetwork.renew` fills them with a network.
    """
    zeros, buffers = task.initial.new_zeros, buffer_layout(task.network)
    size = parameter_layout(task.network).size
    tensors = {"network": zeros(size), "network_velocity": zeros(size)}
    return tensors | ({"network_buffers": zeros(buffers.size)} if buffers.shapes else {})
