"""MTT: matching training trajectories (Cazenavette et al., CVPR 2022).

Experts are networks trained on the real set by plain SGD, with their weights after every epoch
(:mod:`dance.experts.trajectories`). One iteration

1. draws an expert and a start epoch s, uniform in 0, ..., T+ - 1; the student starts from the
   expert's weights after s epochs, and the target is the weights M epochs later,
2. trains the student by N steps of SGD with the step size a, on mini-batches of the synthetic
   images, each under one random operation with parameters for every image (DSA),
3. takes one SGD step, with momentum, of the images and one of a, on

       L = |student - target|^2 / |start - target|^2      over all parameters.

Mini-batches are parts of a random order of all synthetic images, taken from its end, so that the
smaller part comes first; a new order is drawn at every iteration, and when an order is used up. The
published runs start from random real images (``init: random``), in standardised space without
clamping. a is stored with the set: networks that are scored by ``mtt-v1`` train at this rate.
Nothing keeps a above 0; it is logged with the loss, since the method usually fails by its
divergence.

The derivative through N steps is exact and needs the graph of only one step
(:mod:`dance.objectives.trajectory`); a step forwards its images in parts, each as large as
``chunk`` classes. So memory grows neither with N nor with the mini-batch, except for N + 1 copies
of the weights.

Deviations from the paper and from the released code:

* The memory, as described above; the numbers are the same up to rounding.
* 5000 iterations, not 5001. Each pass over the experts has its own random order of all experts, not
  of one file after the other; networks, batches and augmentation come from the run's seed, not from
  the clock.
* With a decoder that yields several images per stored image, the student trains on the decoded
  images; the paper has no decoder.
* A network with batch norm runs in training mode, on whole mini-batches, and its running means
  are neither followed nor matched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch.nn import functional

from dance.augment import Strategy
from dance.condensed.container import Space
from dance.core.config import AtLeastOne, Count, Momentum, NonNegative, Positive, configuration
from dance.core.rng import keyed_generator
from dance.experts.trajectories import Trajectories
from dance.kernels import plain_operations
from dance.methods.base import (
    METHODS,
    SHARED,
    Condensation,
    CondensationTask,
    Condenser,
    Memory,
    PixelState,
    TaskShape,
    Tensors,
)
from dance.methods.toolkit.gradient import SECOND_ORDER
from dance.methods.toolkit.images import NetworkInput, batch_operation
from dance.methods.toolkit.network import TaskNetwork
from dance.networks import Network, State
from dance.networks.state_vector import parameter_layout
from dance.objectives.gradient import loss_jvp
from dance.objectives.trajectory import StepGradients, backward, unroll
from dance.training.optimisers import flat_sgd_step


@configuration
class MTTConfig:
    """Settings of MTT; what depends on data and images per class is in the recipes."""

    iterations: AtLeastOne = 5000
    """Steps of the images."""
    student_steps: Count = 20
    """SGD steps N of the student."""
    expert_epochs: AtLeastOne = 2
    """Epochs M of the expert that the student is to imitate."""
    start_epochs: AtLeastOne = 20
    """Number of epochs T+ of the expert that students start from: the first one and those after it,
    before training being epoch 0."""
    student_batch: AtLeastOne | None = None
    """Synthetic images b per step of the student (none: all)."""
    learning_rate: Positive = 1000.0
    """Learning rate of the images."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the images and on the step size."""
    step_size: Positive = 0.01
    """Step size a before the first iteration: the learning rate of the student, which is
    learned."""
    step_size_learning_rate: NonNegative = 1e-5
    """Learning rate of the step size a."""
    augmentation: Strategy = "color_crop_cutout_flip_scale_rotate"
    """Operations of siamese augmentation, of which one is drawn per step of the student; empty:
    none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MTTState(PixelState):
    """Stored images, and the step size a that is learned with them.

    Attributes:
        learning_rate: 0-dim, the student's learning rate a.
        learning_rate_velocity: 0-dim, momentum of ``learning_rate``.
    """

    learning_rate: torch.Tensor = field(metadata=SHARED)
    learning_rate_velocity: torch.Tensor = field(metadata=SHARED)


@dataclass(frozen=True, eq=False)
class Batch:
    """One step of a student.

    Attributes:
        rows: (b,) rows of its images among all synthetic images, on the device.
        labels: (b,) int64 on the device.
        augmentation: applied to its images.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    augmentation: Callable[[torch.Tensor], torch.Tensor]


class MTTCondensation(Condensation[MTTState]):
    """A run of MTT on a task.

    Args:
        task: the task.
        config: of the method.
        experts: the trajectories of the task, long enough for these settings.
    """

    def __init__(self, task: CondensationTask, config: MTTConfig, experts: Trajectories) -> None:
        state = MTTState.with_zero_momentum(
            task.initial,
            learning_rate=task.initial.new_tensor(config.step_size),
            learning_rate_velocity=task.initial.new_zeros(()),
        )
        super().__init__(task, state)
        self._config, self._experts = config, experts
        self._network = TaskNetwork(task, training=True)
        self._layout = parameter_layout(task.network)
        self._buffers = self._network.fresh_buffers()
        self._input = NetworkInput(task, MTT.space)
        self._labels = task.decoded_labels.to(task.device)

    @property
    def learned_rate(self) -> torch.Tensor:
        """The step size a."""
        return self.state.learning_rate

    def step(self, iteration: int) -> Tensors:
        """One iteration."""
        config, state, rate = self._config, self.state, self.state.learning_rate
        first, target = self._segment(iteration)  # 1.
        leaf = state.pixels.detach().requires_grad_()
        images = self._input.synthetic(leaf)
        batches = self._batches(iteration)

        fixed = images.detach()
        path = unroll(first, rate, [partial(self._gradient, fixed, b) for b in batches])  # 2.
        image_gradient = torch.zeros_like(fixed)
        steps = [partial(self._backward, fixed, image_gradient, batch) for batch in batches]
        loss, rate_gradient = backward(path, target, rate, steps)

        (gradient,) = torch.autograd.grad((images * image_gradient).sum(), leaf)
        losses = {"trajectory": loss, "learning_rate": rate.clone()}
        momentum = config.momentum
        flat_sgd_step(state.pixels, state.velocity, gradient, config.learning_rate, momentum)  # 3.
        velocity = state.learning_rate_velocity
        flat_sgd_step(rate, velocity, rate_gradient, config.step_size_learning_rate, momentum)
        return losses

    def _segment(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Start and target weights, each (P,), on the device, in the dtype of the pixels."""
        experts, config, seed = self._experts, self._config, self.task.seed
        turn, place = divmod(iteration, len(experts))
        order = torch.randperm(len(experts), generator=keyed_generator(seed, "experts", turn))
        generator = keyed_generator(seed, "start epoch", iteration)
        start = int(torch.randint(config.start_epochs, (), generator=generator))
        number = int(order[place])
        ends = [experts.weights(number, epoch) for epoch in (start, start + config.expert_epochs)]
        first, target = (weights.to(self.task.initial) for weights in ends)
        return first, target

    def _batches(self, iteration: int) -> list[Batch]:
        """The student's mini-batches with their augmentations."""
        config, count, seed = self._config, len(self._labels), self.task.seed
        size = min(config.student_batch or count, count)
        batches: list[Batch] = []
        parts: list[torch.Tensor] = []
        for number in range(config.student_steps):
            if not parts:
                generator = keyed_generator(seed, "student order", iteration, number)
                parts = list(torch.randperm(count, generator=generator).split(size))
            rows = parts.pop().to(self.task.device)
            generator = keyed_generator(seed, "student augment", iteration, number)
            resolution = self.task.train.resolution
            augmentation = batch_operation(config.augmentation, len(rows), resolution, generator)
            batches.append(Batch(rows, self._labels[rows], augmentation))
        return batches

    def _gradient(self, images: torch.Tensor, batch: Batch, weights: torch.Tensor) -> torch.Tensor:
        """The gradient g of a step, (P,), of the mean cross-entropy of its images."""
        seen, total = batch.augmentation(images[batch.rows]), torch.zeros_like(weights)
        for part in self._parts(len(seen)):
            loss, leaves = self._loss(weights, seen[part], batch.labels[part])
            found = torch.autograd.grad(loss, list(leaves.values()))
            total += self._flat(found) * (len(seen[part]) / len(seen))
        return total

    def _backward(
        self,
        images: torch.Tensor,
        image_gradient: torch.Tensor,
        batch: Batch,
        weights: torch.Tensor,
        adjoint: torch.Tensor,
        with_weights: bool,
    ) -> StepGradients:
        """A :data:`StepBackward` of a batch; -a dq/dx is added to ``image_gradient``."""
        rate = self.state.learning_rate
        leaf = images[batch.rows].requires_grad_()
        seen = batch.augmentation(leaf)
        product, total = torch.zeros_like(rate), torch.zeros_like(weights)
        gradients = []
        for part in self._parts(len(seen)):
            x = seen[part].detach().requires_grad_()
            fraction = len(x) / len(seen)
            q, leaves = self._product(weights, x, batch.labels[part], adjoint)
            inputs = [x, *(leaves.values() if with_weights else ())]
            second = torch.autograd.grad(q, inputs, materialize_grads=True)
            product += q.detach() * fraction
            gradients.append(second[0] * fraction)
            if with_weights:
                total += self._flat(second[1:]) * fraction
        (gradient,) = torch.autograd.grad((seen * torch.cat(gradients)).sum(), leaf)
        image_gradient.index_add_(0, batch.rows, -rate * gradient)
        return StepGradients(product, total if with_weights else None)

    def _parts(self, count: int) -> list[slice]:
        """Split the images of a step into the parts that go through one forward."""
        return self._network.parts(count, self.task.chunk * self.task.shape.decoded)

    def _product(
        self,
        weights: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor,
        adjoint: torch.Tensor,
    ) -> tuple[torch.Tensor, State]:
        """Q = <g, lambda> with its graph, and the weights by name that it depends on."""
        state, direction = self._leaves(weights), self._layout.views(adjoint)
        found = self._network.jvp(state, direction, images)
        if found is not None:
            return loss_jvp(*found, labels), state
        with plain_operations():
            loss, leaves = self._loss(weights, images, labels)
            gradients = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        products = [(g * v).sum() for g, v in zip(gradients, direction.values(), strict=True)]
        return torch.stack(products).sum(), leaves

    def _leaves(self, weights: torch.Tensor) -> State:
        """Weights (P,) by name, as leaves of a graph."""
        views = self._layout.views(weights.detach())
        return {name: tensor.requires_grad_() for name, tensor in views.items()}

    def _loss(
        self, weights: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, State]:
        """Mean cross-entropy of augmented images, and the weights by name that it depends on."""
        leaves = self._leaves(weights)
        buffers = {name: tensor.clone() for name, tensor in self._buffers.items()}
        logits = self._network.logits({**leaves, **buffers}, images)
        return functional.cross_entropy(logits, labels), leaves

    def _flat(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Gradients of all weights as one vector (P,)."""
        return self._layout.flatten(dict(zip(self._layout.shapes, gradients, strict=True)))


@METHODS.register("mtt")
class MTT(Condenser):
    """MTT; see the module's text."""

    title = "MTT"
    paper = "Cazenavette et al., CVPR 2022"
    year = 2022
    whitens = True
    Config = MTTConfig
    config: MTTConfig
    divergence_hint = "step_size_learning_rate"
    trajectory_option = "start_epochs"
    space: ClassVar[Space] = "normalized"
    small_options: ClassVar[Mapping[str, Any]] = {
        "student_steps": 5,
        "start_epochs": 3,
        "step_size": 0.03,
        "learning_rate": 30.0,
    }

    def trajectory_epochs(self) -> int:
        """The target epoch of the last start epoch."""
        return self.config.start_epochs - 1 + self.config.expert_epochs

    def couples(self, network: Network) -> bool:
        """The student is trained on the synthetic images of all classes."""
        return True

    def memory(self, shape: TaskShape) -> Memory:
        """One class's images with second derivatives, and the student's path and target.

        Batch norm needs the images of a student's step in one forward, which are shared out among
        the classes here.
        """
        each = shape.decoded
        if shape.batch_norm and (batch := self.config.student_batch) is not None:
            each = min(each, math.ceil(batch / len(shape.counts)))
        networks = self.config.student_steps + 2
        return Memory(SECOND_ORDER * each, networks=networks, together=shape.batch_norm)

    def start(self, task: CondensationTask) -> MTTCondensation:
        """Begin with the initial stored images and step size, with zero momentum.

        Raises:
            MissingExpertsError: the task has no trajectories, or too short ones.
        """
        return MTTCondensation(task, self.config, self.trajectories(task))
