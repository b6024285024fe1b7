"""MTT: matching training trajectories (Cazenavette et al., CVPR 2022).

Experts are networks trained on the real set by plain SGD, with their weights after every epoch
(:mod:`dance.experts.trajectories`). One iteration

1. takes an expert and a start epoch s, uniform in 0, ..., T+ - 1; the student is its weights after
   s epochs, the target those M epochs later,
2. lets the student take N steps of SGD with the step size a, on mini-batches of the synthetic
   images, each under one random operation with parameters for every image (DSA),
3. takes one SGD step, with momentum, of the images and one of a, on

       L = |student - target|^2 / |start - target|^2      over all parameters.

Mini-batches are parts of a random order of all synthetic images, taken from its end, so that the
smaller part comes first; a new order is drawn when it is used up, and at every iteration. The
published runs start from random real images (``init: random``), in standardised space without
clamps. a is stored with the set: networks that are scored by ``mtt-v1`` train at it. Nothing keeps
it above 0; it stands beside the loss, since its divergence is how this method usually fails.

The derivative through N steps is exact and needs the graph of one of them
(:mod:`dance.objectives.trajectory`); a step takes its images in parts of ``chunk`` classes' worth.
So memory grows neither with N nor with the mini-batch, beside N + 1 copies of the weights.

Deviations from the paper and from the released code:

* Memory, as said; the numbers are the same up to rounding.
* 5000 iterations, not 5001. Experts come in one random order after the other over all of them, not
  file by file; networks, batches and augmentation come from the run's seed, not from the clock.
* Scale and rotation interpolate as PyTorch does now (``align_corners=False``); the released code
  has True.
* Images are those that a set of a larger factor decodes to, where one is asked for; the paper has
  none.
* A network with batch norm runs in training mode, on whole mini-batches, and its running means
  are neither followed nor matched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch.nn import functional

from dance.augment import Strategy, single
from dance.condensed.container import Space
from dance.core.config import AtLeastOne, Count, Momentum, NonNegative, Positive, configuration
from dance.core.rng import keyed_generator
from dance.experts.trajectories import Trajectories, long_enough
from dance.kernels import plain_operations
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.classwise_sgd import ClassSGD
from dance.methods.toolkit.distribution import forward, forward_jvp, has_batch_norm, pictures
from dance.networks import State
from dance.networks.state_vector import parameter_layout
from dance.objectives.gradient import loss_jvp
from dance.objectives.trajectory import StepGradients, backward, unroll

_SECOND_ORDER = 3
"""Memory of an image's forward with second derivatives, in forwards with first ones."""


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
    """First epoch T+ of the expert that no student starts from."""
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


@dataclass(frozen=True, eq=False)
class Batch:
    """One step of a student.

    Attributes:
        rows: (b,) of its images among all synthetic ones, on the device.
        labels: (b,) int64 on the device.
        change: its augmentation.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    change: Callable[[torch.Tensor], torch.Tensor]


@METHODS.register("mtt")
class MTT(Condenser):
    """MTT; see the module's text."""

    title = "MTT"
    paper = "Cazenavette et al., CVPR 2022"
    year = 2022
    whitens = True
    Config = MTTConfig
    config: MTTConfig
    shared = frozenset({"learning_rate", "learning_rate_velocity"})
    divergence_hint = "step_size_learning_rate"
    whole = True
    space: ClassVar[Space] = "normalized"

    @property
    def iterations(self) -> int:
        """Steps of the images."""
        return self.config.iterations

    def trajectory_epochs(self) -> int:
        """The last target of the last start."""
        return self.config.start_epochs - 1 + self.config.expert_epochs

    def synthetic_images(self, ipc: int, factor: int) -> int:
        """Those of a class, counted by the memory of second derivatives."""
        return _SECOND_ORDER * super().synthetic_images(ipc, factor)

    def networks_held(self) -> int:
        """The student's path and where it should lead."""
        return self.config.student_steps + 2

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images and step size at rest.

        Raises:
            MissingExpertsError: the task has no trajectories, or too short ones.
        """
        self._experts(task)
        self._network = copy.deepcopy(task.network).train()
        self._coupled = has_batch_norm(task.network)
        self._buffers: State = {}
        if dict(task.network.named_buffers()):
            fresh = task.network.initial(keyed_generator(task.seed, "buffers"))
            names = [name for name, _ in task.network.named_buffers()]
            held = {name: fresh[name].to(task.device) for name in names}
            dtype = task.initial.dtype
            self._buffers = {
                n: t.to(dtype) if t.is_floating_point() else t for n, t in held.items()
            }
        each = task.decoder.images(task.ipc)
        labels = torch.arange(task.train.num_classes)
        self._labels = labels.repeat_interleave(each).to(task.device)
        self._together = task.chunk * each
        initial = task.initial
        return {
            "pixels": initial.clone(),
            "velocity": torch.zeros_like(initial),
            "learning_rate": initial.new_tensor(self.config.step_size),
            "learning_rate_velocity": initial.new_zeros(()),
        }

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One iteration."""
        config, rate = self.config, state["learning_rate"]
        first, target = self._segment(task, iteration)
        leaf = state["pixels"].detach().requires_grad_()
        images = pictures(task, leaf, self.space)
        batches = self._batches(task, iteration)

        still = images.detach()
        path = unroll(first, rate, [partial(self._slope, task, still, b) for b in batches])
        pulled = torch.zeros_like(still)
        reverses = [partial(self._pull, task, still, pulled, rate, batch) for batch in batches]
        loss, slope = backward(path, target, rate, reverses)

        (gradient,) = torch.autograd.grad((images * pulled).sum(), leaf)
        losses = {"trajectory": loss, "learning_rate": rate.clone()}
        rates = (config.learning_rate, config.momentum)
        ClassSGD(state["pixels"], state["velocity"], 1, *rates).step(gradient)
        velocity = state["learning_rate_velocity"].mul_(config.momentum).add_(slope)
        rate.sub_(velocity, alpha=config.step_size_learning_rate)
        return losses

    def _experts(self, task: CondensationTask) -> Trajectories:
        """The trajectories, long enough."""
        asked = self.trajectory_epochs()
        return long_enough(task.trajectories, asked, self.title, "start_epochs")

    def _segment(self, task: CondensationTask, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (P,) to start from and to reach, on the device, in the dtype of the pixels."""
        held, config = self._experts(task), self.config
        turn, place = divmod(iteration, len(held))
        order = torch.randperm(len(held), generator=keyed_generator(task.seed, "experts", turn))
        generator = keyed_generator(task.seed, "start epoch", iteration)
        start = int(torch.randint(config.start_epochs, (), generator=generator))
        number = int(order[place])
        ends = [held.weights(number, epoch) for epoch in (start, start + config.expert_epochs)]
        first, target = (weights.to(task.initial) for weights in ends)
        return first, target

    def _batches(self, task: CondensationTask, iteration: int) -> list[Batch]:
        """The student's mini-batches and what augments them."""
        config, count = self.config, len(self._labels)
        size = min(config.student_batch or count, count)
        batches: list[Batch] = []
        parts: list[torch.Tensor] = []
        for number in range(config.student_steps):
            if not parts:
                generator = keyed_generator(task.seed, "student order", iteration, number)
                parts = list(torch.randperm(count, generator=generator).split(size))
            rows = parts.pop().to(task.device)
            change = self._augmentation(task, len(rows), iteration, number)
            batches.append(Batch(rows, self._labels[rows], change))
        return batches

    def _augmentation(
        self, task: CondensationTask, count: int, iteration: int, number: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """One operation for the images of a step, each with parameters of its own."""
        strategy, resolution = self.config.augmentation, task.train.resolution
        if not strategy:
            return lambda images: images
        generator = keyed_generator(task.seed, "student augment", iteration, number)
        drawn = single.draw(strategy, count, resolution, generator, shared=True)
        return lambda images: single.apply(images, drawn)

    def _slope(
        self, task: CondensationTask, images: torch.Tensor, batch: Batch, weights: torch.Tensor
    ) -> torch.Tensor:
        """The gradient g of a step, (P,), of the mean cross-entropy of its images."""
        seen, total = batch.change(images[batch.rows]), torch.zeros_like(weights)
        for part in self._parts(len(seen)):
            loss, leaves = self._loss(task, weights, seen[part], batch.labels[part])
            found = torch.autograd.grad(loss, list(leaves.values()))
            total += _flat(found) * (len(seen[part]) / len(seen))
        return total

    def _pull(
        self,
        task: CondensationTask,
        images: torch.Tensor,
        pulled: torch.Tensor,
        rate: torch.Tensor,
        batch: Batch,
        weights: torch.Tensor,
        adjoint: torch.Tensor,
        wanted: bool,
    ) -> StepGradients:
        """What :data:`StepBackward` asks of a step; -a dq/dx is added to ``pulled``."""
        leaf = images[batch.rows].requires_grad_()
        seen = batch.change(leaf)
        product, total = torch.zeros_like(rate), torch.zeros_like(weights)
        gradients = []
        for part in self._parts(len(seen)):
            x = seen[part].detach().requires_grad_()
            share = len(x) / len(seen)
            q, leaves = self._product(task, weights, x, batch.labels[part], adjoint)
            inputs = [x, *(leaves.values() if wanted else ())]
            second = torch.autograd.grad(q, inputs, materialize_grads=True)
            product += q.detach() * share
            gradients.append(second[0] * share)
            if wanted:
                total += _flat(second[1:]) * share
        (gradient,) = torch.autograd.grad((seen * torch.cat(gradients)).sum(), leaf)
        pulled.index_add_(0, batch.rows, -rate * gradient)
        return StepGradients(product, total if wanted else None)

    def _parts(self, count: int) -> list[slice]:
        """Images of a step that are forwarded together."""
        together = count if self._coupled else self._together
        return [slice(start, start + together) for start in range(0, count, together)]

    def _product(
        self,
        task: CondensationTask,
        weights: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor,
        adjoint: torch.Tensor,
    ) -> tuple[torch.Tensor, State]:
        """Q = <g, lambda> with its graph, and the weights by name that it depends on."""
        state, way = self._leaves(weights), parameter_layout(self._network).views(adjoint)
        found = forward_jvp(task, self._network, state, way, images)
        if found is not None:
            return loss_jvp(*found, labels), state
        with plain_operations():
            loss, leaves = self._loss(task, weights, images, labels)
            gradients = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        products = [(g * v).sum() for g, v in zip(gradients, way.values(), strict=True)]
        return torch.stack(products).sum(), leaves

    def _leaves(self, weights: torch.Tensor) -> State:
        """Weights (P,) by name, to be differentiated."""
        views = parameter_layout(self._network).views(weights.detach())
        return {name: tensor.requires_grad_() for name, tensor in views.items()}

    def _loss(
        self,
        task: CondensationTask,
        weights: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor,
    ) -> tuple[torch.Tensor, State]:
        """Mean cross-entropy of augmented images, and the weights by name that it depends on."""
        leaves = self._leaves(weights)
        buffers = {name: tensor.clone() for name, tensor in self._buffers.items()}
        logits = forward(task, self._network.logits, {**leaves, **buffers}, images)
        return functional.cross_entropy(logits, labels), leaves


def _flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
