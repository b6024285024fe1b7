"""DC: dataset condensation with gradient matching (Zhao, Mopuri & Bilen, ICLR 2021); DSA (2021).

Algorithm 1. K times a new random network; T times each

1. for every class, the gradient g_T of the network's loss on a real batch of the class and g_S on
   all of its synthetic images,
2. one step of the images on the sum over classes of D(g_T, g_S), D by layers and rows (Eq. 10),
3. except after the last, some epochs of training the network on the synthetic images.

One :meth:`DC.step` is one of the T: the network in training is in the state, so a run goes on from
inside an inner loop. Standardised space, no clamp; the published runs of DC begin at N(0,1) noise
(``init: normal`` in the run), those of DSA at random real images (``init: random``).

DSA (Zhao & Bilen, ICML 2021) puts both batches of a class through one random operation, each class
and step through another, and augments the inner training by one operation per batch, each image by
parameters of its own.

Deviations from the paper, which follow the released code that made the published numbers (the
option that gives another form is in brackets):

* Inner training is counted in epochs over the synthetic images, not in steps.
* Biases and norms do not enter the distance (``distance: squared`` and ``cosine``, the ablations
  over all parameters at once, have them in).
* The network trains without momentum, as released since July 2021; the first release, which made
  all rows but CIFAR-100's, had 0.5 (``network_momentum: 0.5``).

Deviations from the released code:

* T and the inner epochs are known to it for 1, 10, 20, 30, 40 and 50 images per class only. Here T
  is the images per class, at most 50, and the epochs are read off a line through its values; both
  can be set. A run of K networks takes K T iterations.
* It runs K+1 networks and stores a set that is T updates newer than the one it scored.
* The derivative of the distance is taken in closed form, class by class: the same numbers, and the
  memory of one class, not of all. (The advice to step inside the loop over classes, which saves
  memory there, changes the algorithm.)
* A class is read in a random order, pass after pass, not by a new draw at every step; networks and
  augmentation come from keyed generators, not from the clock.
* Scale and rotation interpolate as PyTorch does now (``align_corners=False``), not as 1.2 did.
* Before a step, batch norm sees 16 real images of each class in training mode and is then frozen,
  as released, which is one step of its averages and not their values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch

from dance.augment import Strategy, single
from dance.condensed.container import Space
from dance.core.config import AtLeastOne, Count, Momentum, Positive, configuration
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.classwise_sgd import ClassSGD
from dance.methods.toolkit.distribution import Change, pictures, single_operation
from dance.methods.toolkit.gradient import (
    COSINE,
    ROWS,
    SECOND_ORDER,
    SQUARED,
    Matcher,
    owners,
    standardised,
    together,
)
from dance.methods.toolkit.inner_network import SHARED, InnerNetwork

_INNER = {10: 50, 20: 25, 30: 20, 40: 15, 50: 10}
"""Epochs of inner training by images per class, as published."""
_MOST_OUTER = 50
_SEEN = 16
"""Real images of each class that batch norm sees before a step."""
_COMPARISONS = {"rows": ROWS, "squared": SQUARED, "cosine": COSINE}


@configuration
class DCConfig:
    """Settings of DC; the defaults are those that made the published numbers."""

    iterations: AtLeastOne = 10_000
    """Steps of the images in all: K networks (1000) times the outer steps of each."""
    outer_steps: AtLeastOne | None = None
    """Steps T of the images per network (none: the images per class, at most 50)."""
    inner_epochs: Count | None = None
    """Epochs of a network on the synthetic images between two steps of the images (none: 50 up to
    10 images per class, falling to 10 at 50)."""
    learning_rate: Positive = 0.1
    """Learning rate of the images (published: 0.01 where the network is an MLP)."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the images, which lasts from network to network."""
    real_batch: Count = 256
    """Real images per class and step; 0 takes all."""
    distance: Literal["rows", "squared", "cosine"] = "rows"
    """Distance of gradients: rows (of every layer, as published), or the squared difference or
    cosine of all gradients as one vector."""
    augmentation: Strategy = ""
    """Operations of siamese augmentation, of which one is drawn per class and step; empty: none."""
    network_learning_rate: Positive = 0.01
    """Learning rate of the inner training of a network."""
    network_momentum: Momentum = 0.0
    """Momentum of SGD in the inner training of a network."""
    network_batch: AtLeastOne = 256
    """Images per step of the inner training of a network."""


@configuration
class DSAConfig(DCConfig):
    """Settings of DSA: those of DC, augmented (without ``flip`` for digits)."""

    augmentation: Strategy = "color_crop_cutout_flip_scale_rotate"


def outer_steps(ipc: int) -> int:
    """T: steps of the images per network.

    >>> [outer_steps(ipc) for ipc in (1, 5, 10, 50, 100)]
    [1, 5, 10, 50, 50]
    """
    return min(ipc, _MOST_OUTER)


def inner_epochs(ipc: int) -> int:
    """Epochs of inner training between two steps, on a line through the published values.

    >>> [inner_epochs(ipc) for ipc in (2, 10, 15, 20, 45, 50, 100)]
    [50, 50, 38, 25, 12, 10, 10]
    """
    places = list(_INNER)
    if ipc <= places[0] or ipc >= places[-1]:
        return _INNER[places[0] if ipc <= places[0] else places[-1]]
    low = ipc // 10 * 10
    if low == ipc:
        return _INNER[ipc]
    fall = _INNER[low] - _INNER[low + 10]
    return round(_INNER[low] - fall * (ipc - low) / 10)


@METHODS.register("dc")
class DC(Condenser):
    """DC; see the module's text."""

    title = "DC"
    paper = "Zhao, Mopuri & Bilen, ICLR 2021"
    year = 2021
    Config = DCConfig
    config: DCConfig
    shared = SHARED
    whole = True
    space: ClassVar[Space] = "normalized"

    @property
    def iterations(self) -> int:
        """K T."""
        return self.config.iterations

    def synthetic_images(self, ipc: int, factor: int) -> int:
        """Those of a class or of a part of it, counted by the memory of second derivatives."""
        return SECOND_ORDER * min(super().synthetic_images(ipc, factor), self.config.network_batch)

    def real_images(self, device: torch.device, resolution: int) -> int:
        """What is forwarded with gradients, which take twice the memory."""
        return 2 * together(device, resolution)

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images at rest, and room for a network."""
        config = self.config
        self._outer = config.outer_steps or outer_steps(task.ipc)
        self._epochs = inner_epochs(task.ipc)
        if config.inner_epochs is not None:
            self._epochs = config.inner_epochs
        self._trainee = InnerNetwork(task)
        self._matcher = Matcher(task, _COMPARISONS[config.distance], task.network)
        self._sampler = ClassSampler(task.train, config.real_batch, task.seed)
        each = task.decoder.images(task.ipc)
        labels = torch.arange(task.train.num_classes)
        self._labels = labels.repeat_interleave(each).to(task.device)
        initial = task.initial
        stored_images = {"pixels": initial.clone(), "velocity": torch.zeros_like(initial)}
        return stored_images | self._trainee.start()

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One of the T steps of a network, and its training after it."""
        number, outer = divmod(iteration, self._outer)
        if outer == 0:
            self._trainee.renew(state, keyed_generator(task.seed, "network", number))
        if self._trainee.buffers:
            self._observe(task, state, iteration)
        loss = self._match(task, state, iteration)
        if outer < self._outer - 1:
            self._train(task, state, iteration)
        return {"matching": loss}

    def _match(self, task: CondensationTask, state: Tensors, iteration: int) -> torch.Tensor:
        """One step of all images on the sum of distances over classes; their mean."""
        change = single_operation(task, self.config.augmentation, iteration)
        network = self._trainee.eaten(self._trainee.weights(state))
        pixels, gradient = state["pixels"], torch.empty_like(state["pixels"])
        total = pixels.new_zeros(())
        for label in task.classes:
            real = standardised(task, self._sampler.rows(label, iteration))
            target = self._matcher.real(network, change(real, owners(label, real)), label)
            own = slice(label * task.ipc, (label + 1) * task.ipc)
            view = self._view(task, change, label)
            loss, gradient[own] = self._matcher.pull(network, target, pixels[own], label, view)
            total += loss
        config = self.config
        ClassSGD(pixels, state["velocity"], 1, config.learning_rate, config.momentum).step(gradient)
        return total / task.train.num_classes

    def _view(
        self, task: CondensationTask, change: Change, label: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """From stored images of a class to what the network eats."""

        def view(stored_images: torch.Tensor) -> torch.Tensor:
            images = pictures(task, stored_images, self.space)
            return change(images, owners(label, images))

        return view

    def _train(self, task: CondensationTask, state: Tensors, iteration: int) -> None:
        """Some epochs of the network on the synthetic images."""
        config = self.config
        images = pictures(task, state["pixels"], self.space)
        number = 0
        for epoch in range(self._epochs):
            generator = keyed_generator(task.seed, "inner order", iteration, epoch)
            order = torch.randperm(len(images), generator=generator).to(images.device)
            for rows in order.split(config.network_batch):
                batch = images[rows]
                if config.augmentation:
                    generator = keyed_generator(task.seed, "inner augment", iteration, number)
                    drawn = single.draw(
                        config.augmentation,
                        len(rows),
                        task.train.resolution,
                        generator,
                        shared=True,
                    )
                    batch = single.apply(batch, drawn)
                self._trainee.train(
                    state,
                    batch,
                    self._labels[rows],
                    config.network_learning_rate,
                    config.network_momentum,
                )
                number += 1

    def _observe(self, task: CondensationTask, state: Tensors, iteration: int) -> None:
        """One batch of real images of all classes for batch norm."""
        chosen = [self._sampler.rows(label, iteration)[:_SEEN] for label in task.classes]
        self._trainee.observe(state, standardised(task, torch.cat(chosen)))


@METHODS.register("dsa")
class DSA(DC):
    """DSA; see the module's text."""

    title = "DSA"
    paper = "Zhao & Bilen, ICML 2021"
    Config = DSAConfig
