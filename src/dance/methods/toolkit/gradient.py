"""Gradient matching class by class: what DC, DSA, IDC and DREAM share.

A class's distance depends on its own stored images alone, so classes are taken one after the other
and memory is that of one class, or of the images that go through one forward when a class has more:

* the real gradient is a weighted sum over parts of the batch, first order, with the C kernels;
* the synthetic gradient too, which gives v = dD/dg_S; then each part in turn is pulled along v:
  by the operations that carry a derivative along v where the network has them, else by those with
  second derivatives. With these and one part, gradient and pull are one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from dance.core.device import policy
from dance.kernels import plain_operations
from dance.methods.base import CondensationTask
from dance.methods.toolkit.distribution import Owners, forward, forward_jvp
from dance.networks import Network, State
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

SECOND_ORDER = 3
"""Memory of an image's forward with second derivatives, in forwards with first ones."""


@dataclass(frozen=True)
class Comparison:
    """What is compared of two gradients.

    Attributes:
        metric: their distance.
        axes: tensors of fewer axes are left out: 2 leaves out biases and norms, 3 the classifier
            too.
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
        task: for device and precision.
        comparison: what is compared.
        network: the skeleton, in the mode in which it is to run.
        coupled: whether images of a batch see each other (batch norm in training mode), so that a
            batch cannot be taken in parts.
    """

    def __init__(
        self,
        task: CondensationTask,
        comparison: Comparison,
        network: Network,
        *,
        coupled: bool = False,
    ) -> None:
        self._problem, self._metric, self._network = task, comparison.metric, network
        self._compared = [
            name for name, p in network.named_parameters() if p.ndim >= comparison.axes
        ]
        self._coupled = coupled
        self._together = together(task.device, task.train.resolution)
        self._carries: bool | None = None

    def real(self, state: State, images: torch.Tensor, label: int) -> list[torch.Tensor]:
        """g_T: gradients of the mean cross-entropy of one class's images.

        Args:
            state: of the network.
            images: (n,C,H,W) standardised and augmented.
            label: of the class.
        """
        return self._first_order(state, images, label)

    def pull(
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
            view: from stored images to what the network eats.

        Returns:
            D, 0-dim, and its gradient (ipc,C,S,S).
        """
        leaf = stored_images.detach().requires_grad_()
        images = view(leaf)
        found: list[Distance] = []

        def slope(gradients: list[torch.Tensor]) -> list[torch.Tensor]:
            found.append(self._metric(real, gradients))
            return found[0].gradient

        parts = self._parts(images.detach())
        if self._carries is None:
            self._carries = self._tried(state, parts[0])
        if len(parts) == 1 and not self._carries:
            pulled = self._toward(state, parts[0], label, slope)
        else:
            v = slope(self._first_order(state, images.detach(), label))
            pulled = torch.cat(
                [self._along(state, p, label, v) * (len(p) / len(images)) for p in parts]
            )
        (gradient,) = torch.autograd.grad(images, leaf, pulled)
        return found[0].value, gradient

    def _tried(self, state: State, images: torch.Tensor) -> bool:
        """Whether the network carries derivatives along a direction for such images."""
        with torch.no_grad():
            return forward_jvp(self._problem, self._network, state, {}, images[:1]) is not None

    def _along(
        self, state: State, images: torch.Tensor, label: int, v: list[torch.Tensor]
    ) -> torch.Tensor:
        """The gradient of images under <grad_w L, v>."""
        leaf, direction = images.requires_grad_(), dict(zip(self._compared, v, strict=True))
        found = forward_jvp(self._problem, self._network, state, direction, leaf)
        if found is None:
            return self._toward(state, images, label, lambda _: v)
        labels = torch.full((len(images),), label, device=images.device)
        (gradient,) = torch.autograd.grad(loss_jvp(*found, labels), leaf)
        return gradient

    def _parts(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        return [images] if self._coupled else images.split(self._together)

    def _first_order(self, state: State, images: torch.Tensor, label: int) -> list[torch.Tensor]:
        weights = self._weights(state)
        total: list[torch.Tensor] = []
        for part in self._parts(images):
            share = len(part) / len(images)
            found = weight_gradients(self._loss(state, label), weights, part)
            if total:
                for held, own in zip(total, found, strict=True):
                    held.add_(own, alpha=share)
            else:
                total = [own * share for own in found]
        return total

    def _toward(
        self,
        state: State,
        images: torch.Tensor,
        label: int,
        slope: Callable[[list[torch.Tensor]], list[torch.Tensor]],
    ) -> torch.Tensor:
        with plain_operations():
            return input_gradient(self._loss(state, label), self._weights(state), images, slope)

    def _weights(self, state: State) -> Weights:
        return {name: state[name] for name in self._compared}

    def _loss(self, state: State, label: int) -> Callable[[Weights, torch.Tensor], torch.Tensor]:
        def loss(weights: Weights, images: torch.Tensor) -> torch.Tensor:
            logits = forward(self._problem, self._network.logits, {**state, **weights}, images)
            return functional.cross_entropy(logits, logits.new_full((len(logits),), label).long())

        return loss


def standardised(task: CondensationTask, rows: torch.Tensor) -> torch.Tensor:
    """Real images (n,C,H,W) at ``rows`` of the training set, as a network eats them."""
    train = task.train
    images = train.images[rows.to(train.images.device)].to(task.device)
    return train.normalization.apply_bytes(images, task.initial.dtype)


def owners(label: int, images: torch.Tensor) -> Owners:
    """That images (n,C,H,W) are of one class."""
    return Owners.of(torch.full((len(images),), label), images.device)


def together(device: torch.device, resolution: int) -> int:
    """Images of ``resolution`` pixels that go through one forward with gradients."""
    found = policy(device)
    return found.fitting(found.gradient, resolution)
