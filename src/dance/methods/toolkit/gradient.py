"""Gradient matching class by class: what DC, DSA, IDC and DREAM share.

A class's distance depends on its own stored images alone, so classes are taken one after the other
and memory is that of one class, or of the images that go through one forward when a class has more:

* the real gradient g_T is a weighted sum over parts of the batch, first order, with the C kernels;
* the synthetic gradient g_S too, which gives v = dD/dg_S; then the gradient of each part's images
  is that of <g_S, v>: by the operations that carry a derivative along v where the network has them,
  else by those with second derivatives. With these and one part, g_S and the gradient are one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.nn import functional

from dance.condensed.container import Space
from dance.data.sampler import ClassSampler
from dance.kernels import plain_operations
from dance.methods.base import Condensation, CondensationTask, PixelState
from dance.methods.toolkit.classwise_sgd import ClassOptimiser
from dance.methods.toolkit.images import Augmentation, NetworkInput, Owners
from dance.methods.toolkit.network import TaskNetwork
from dance.networks import State
from dance.objectives.gradient import (
    Distance,
    Metric,
    Weights,
    absolute_error,
    cosine,
    input_gradient,
    loss_jvp,
    row_cosine,
    squared_error,
    weight_gradients,
)

S = TypeVar("S", bound=PixelState)
SECOND_ORDER = 3
"""Memory of a forward with second derivatives, as a multiple of one with first derivatives."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of two gradients.

    Attributes:
        metric: the distance.
        axes: tensors with fewer axes are left out: 2 leaves out biases and norms, 3 also leaves out
            the classifier.
    """

    metric: Metric
    axes: int


ROWS = Comparison(row_cosine, 2)
SQUARED = Comparison(squared_error, 1)
COSINE = Comparison(cosine, 1)
KERNELS_SQUARED = Comparison(squared_error, 3)
KERNELS_ABSOLUTE = Comparison(absolute_error, 3)


class Matcher:
    """Gradients of one class's images under a network, and their distance.

    Args:
        network: in the mode in which it is to run; if it couples the images of a batch, a batch is
            not split into parts.
        comparison: the compared tensors and their distance.
        batch_size: images that go through one forward with gradients of weights.
    """

    def __init__(self, network: TaskNetwork, comparison: Comparison, batch_size: int) -> None:
        self._network, self._metric, self._batch_size = network, comparison.metric, batch_size
        self._compared = [
            name
            for name, parameter in network.skeleton.named_parameters()
            if parameter.ndim >= comparison.axes
        ]
        self._has_jvp: bool | None = None

    def gradients(self, state: State, images: torch.Tensor, label: int) -> list[torch.Tensor]:
        """Gradients of the mean cross-entropy of one class's images, without a graph.

        Args:
            state: of the network.
            images: (n,C,H,W) standardised and augmented.
            label: of the class.
        """
        weights = self._weights(state)
        total: list[torch.Tensor] = []
        for part in self._parts(images):
            fraction = len(part) / len(images)
            found = weight_gradients(self._loss(state, label), weights, part)
            if total:
                for tensor, gradient in zip(total, found, strict=True):
                    tensor.add_(gradient, alpha=fraction)
            else:
                total = [gradient * fraction for gradient in found]
        return total

    def matching_gradient(
        self,
        state: State,
        real: list[torch.Tensor],
        stored_images: torch.Tensor,
        label: int,
        view: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The distance of a class and its gradient with respect to the stored images.

        Args:
            state: of the network.
            real: g_T of the class.
            stored_images: (ipc,C,S,S) of the class.
            label: of the class.
            view: from stored images to network input.

        Returns:
            D, 0-dim, and its gradient (ipc,C,S,S).
        """
        leaf = stored_images.detach().requires_grad_()
        images = view(leaf)
        found: list[Distance] = []

        def direction(gradients: list[torch.Tensor]) -> list[torch.Tensor]:
            """The derivative v = dD/dg_S."""
            found.append(self._metric(real, gradients))
            return found[0].gradient

        parts = self._parts(images.detach())
        if self._has_jvp is None:
            with torch.no_grad():
                self._has_jvp = self._network.jvp(state, {}, parts[0][:1]) is not None
        if len(parts) == 1 and not self._has_jvp:
            gradient = self._second_order(state, parts[0], label, direction)
        else:
            v = direction(self.gradients(state, images.detach(), label))
            gradient = torch.cat(
                [self._gradient_along(state, p, label, v) * (len(p) / len(images)) for p in parts]
            )
        (gradient,) = torch.autograd.grad(images, leaf, gradient)
        return found[0].value, gradient

    def _gradient_along(
        self, state: State, images: torch.Tensor, label: int, v: list[torch.Tensor]
    ) -> torch.Tensor:
        """The gradient of <grad_w L, v> with respect to images."""
        leaf, direction = images.requires_grad_(), dict(zip(self._compared, v, strict=True))
        found = self._network.jvp(state, direction, leaf)
        if found is None:
            return self._second_order(state, images, label, lambda _: v)
        labels = torch.full((len(images),), label, device=images.device)
        (gradient,) = torch.autograd.grad(loss_jvp(*found, labels), leaf)
        return gradient

    def _parts(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        return [images] if self._network.coupled else images.split(self._batch_size)

    def _second_order(
        self,
        state: State,
        images: torch.Tensor,
        label: int,
        direction: Callable[[list[torch.Tensor]], list[torch.Tensor]],
    ) -> torch.Tensor:
        with plain_operations():
            loss, weights = self._loss(state, label), self._weights(state)
            return input_gradient(loss, weights, images, direction)

    def _weights(self, state: State) -> Weights:
        return {name: state[name] for name in self._compared}

    def _loss(self, state: State, label: int) -> Callable[[Weights, torch.Tensor], torch.Tensor]:
        def loss(weights: Weights, images: torch.Tensor) -> torch.Tensor:
            logits = self._network.logits({**state, **weights}, images)
            return functional.cross_entropy(logits, logits.new_full((len(logits),), label).long())

        return loss


class GradientMatching(Condensation[S]):
    """Steps that match gradients of real and synthetic images, one class after the other.

    One process has all classes: they share the network that is trained on all of them.

    Args:
        task: the task.
        state: holds the stored images.
        optimiser: of the stored images.
        matcher: computes a class's gradients and their distance.
        real_batch: real images of each class and step; 0 for all.
        space: of the stored images.

    Attributes:
        input: makes network input of real and stored images.
    """

    def __init__(
        self,
        task: CondensationTask,
        state: S,
        optimiser: ClassOptimiser,
        matcher: Matcher,
        real_batch: int,
        space: Space = "unit",
    ) -> None:
        super().__init__(task, state)
        self.input = NetworkInput(task, space)
        self._sampler = ClassSampler(task.train, real_batch, task.seed)
        self._optimiser, self._matcher = optimiser, matcher

    def real_rows(self, label: int, iteration: int) -> torch.Tensor:
        """Rows (n,) of the real images of a class that an iteration matches."""
        return self._sampler.rows(label, iteration)

    def decoded(self, stored_images: torch.Tensor, label: int, iteration: int) -> torch.Tensor:
        """Network input (n,C,H,W) of the stored images (ipc,C,S,S) of a class."""
        return self.input.synthetic(stored_images)

    def match(self, network: State, augmentation: Augmentation, iteration: int) -> torch.Tensor:
        """One step of all stored images on the sum of distances over classes.

        Args:
            network: weights under which gradients are taken.
            augmentation: of the real and the synthetic images.
            iteration: number of the iteration.

        Returns:
            The mean distance over classes, 0-dim.
        """
        ipc, pixels = self.task.ipc, self.state.pixels
        self._optimiser.before()
        gradient, total = torch.empty_like(pixels), pixels.new_zeros(())
        for label in self.task.classes:
            own = slice(label * ipc, (label + 1) * ipc)
            loss, gradient[own] = self._match_class(
                label, pixels[own], network, augmentation, iteration
            )
            total += loss
        self._optimiser.step(gradient)
        self._optimiser.after()
        return total / self.task.train.num_classes

    def _match_class(
        self,
        label: int,
        stored_images: torch.Tensor,
        network: State,
        augmentation: Augmentation,
        iteration: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The distance of a class, and its gradient with respect to the stored images."""

        def augmented(images: torch.Tensor) -> torch.Tensor:
            return augmentation(images, Owners.one(label, images))

        def view(stored_images: torch.Tensor) -> torch.Tensor:
            return augmented(self.decoded(stored_images, label, iteration))

        real = augmented(self.input.real(self.real_rows(label, iteration)))
        target = self._matcher.gradients(network, real, label)
        return self._matcher.matching_gradient(network, target, stored_images, label, view)
