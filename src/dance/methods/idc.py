"""IDC: efficient synthetic-data parameterization (Kim et al., ICML 2022); IDC-I is factor 1.

Algorithm 1. Each outer iteration takes a new random network and clamps the stored images to [0,1];
then, 100 times,

1. for every class, the gradients of the network's loss on a real batch and on the class's decoded
   synthetic images, both under one augmentation, and one step of the stored images on the distance
   of their convolution kernels,
2. the network trains on some real images of all classes.

One :meth:`IDC.step` is one of the 100: the network in training is in the state.

Deviations from the paper, which follow the released settings that made the published numbers (the
option that gives another form is in brackets):

* The distance is the plain sum over convolution kernels of squared (``distance: mse``) or absolute
  (``l1``) differences; the classifier, biases and norms do not enter.
* Every class takes its own step with momentum 0.5 on the shared stored images, in closed form
  (:mod:`dance.methods.toolkit.classwise_sgd`).
* The learning rate is ``learning_rate`` times the images per class times (side / 32)^2, 28-pixel
  fashion included; the released code takes (side / 28)^2 for MNIST and (side / 224)^2 for ImageNet
  (``reference_resolution``).

Deviations from the released code: the network trains for whole batches, a fixed number after each
matching, so that a batch that ends a pass early counts as one; where a strategy names several of
crop, scale and rotate, one of them is drawn for all classes of a step; the distance's derivative is
taken in closed form. Batch norm runs in training mode, as released.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch

from dance.augment import Strategy, cutmix, siamese
from dance.condensed.decoders.bound import Bound
from dance.condensed.decoders.multi import Multi
from dance.core.config import (
    AtLeastOne,
    Count,
    Momentum,
    NonNegative,
    Positive,
    Probability,
    configuration,
)
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.classwise_sgd import ClassSGD
from dance.methods.toolkit.distribution import Change, chained_operations
from dance.methods.toolkit.gradient import (
    KERNELS_ABSOLUTE,
    KERNELS_SQUARED,
    SECOND_ORDER,
    Matcher,
    owners,
    standardised,
    together,
)
from dance.methods.toolkit.inner_network import SHARED, InnerNetwork

_COMPARISONS = {"mse": KERNELS_SQUARED, "l1": KERNELS_ABSOLUTE}


@configuration
class IDCConfig:
    """Settings of IDC; the defaults are those of CIFAR that made the published numbers."""

    iterations: AtLeastOne = 200_000
    """Steps in all: outer iterations (2000) times the steps of each network."""
    network_steps: AtLeastOne = 100
    """Matching steps per network."""
    learning_rate: Positive = 5e-4
    """Learning rate of the stored images for one image per class at the reference resolution; it is
    multiplied by the images per class and by (resolution / reference resolution)^2."""
    reference_resolution: AtLeastOne = 32
    """Resolution in pixels that the learning rate is meant for (28 for MNIST, 224 for ImageNet)."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the stored images."""
    distance: Literal["mse", "l1"] = "mse"
    """Distance of the gradients of convolution kernels: mse (sum of squared differences: CIFAR,
    SVHN) or l1 (sum of absolute ones: MNIST, fashion, ImageNet)."""
    real_batch: Count = 64
    """Real images per class and step; 0 takes all."""
    synthetic_cap: AtLeastOne = 128
    """Largest number of decoded images per class and step."""
    augmentation: Strategy = "color_crop_cutout"
    """Operations of siamese augmentation, with one parameter draw per class; empty: none."""
    decoding: Literal["single", "multi", "bound"] = "single"
    """Decoding of stored images while condensing: single (one factor), multi (all factors up to it)
    or bound (the largest factors that the cap on decoded images allows)."""
    network_images: AtLeastOne = 2000
    """Real images that the network trains on after each matching step; at most one pass."""
    network_batch: AtLeastOne = 64
    """Images per step of the training of the network."""
    network_learning_rate: Positive = 0.01
    """Learning rate of the training of the network."""
    network_momentum: Momentum = 0.9
    """Momentum of SGD in the training of the network."""
    network_weight_decay: NonNegative = 5e-4
    """Weight of the L2 penalty in the training of the network."""
    network_augmentation: Strategy = "color_crop"
    """Operations of augmentation in the training of the network, with one parameter draw per image;
    empty: none."""
    cutmix: Probability = 0.5
    """Probability of CutMix per batch in the training of the network, from 0 to 1."""
    warmup_epochs: Count = 0
    """Passes over the real images before a network is first matched."""


@METHODS.register("idc")
class IDC(Condenser):
    """IDC; see the module's text."""

    title = "IDC"
    paper = "Kim et al., ICML 2022"
    year = 2022
    Config = IDCConfig
    config: IDCConfig
    shared = SHARED
    whole = True

    @property
    def iterations(self) -> int:
        """Outer iterations times the steps of each network."""
        return self.config.iterations

    def synthetic_images(self, ipc: int, factor: int) -> int:
        """Decoded images up to the cap, counted by the memory of second derivatives."""
        return SECOND_ORDER * min(super().synthetic_images(ipc, factor), self.config.synthetic_cap)

    def real_images(self, device: torch.device, resolution: int) -> int:
        """What is forwarded with gradients, which take twice the memory."""
        return 2 * together(device, resolution)

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images at rest, and room for a network."""
        config = self.config
        self._trainee = InnerNetwork(task)
        self._matcher = Matcher(
            task,
            _COMPARISONS[config.distance],
            self._trainee.network,
            coupled=self._trainee.buffers,
        )
        self._sampler = ClassSampler(task.train, config.real_batch, task.seed)
        count = len(task.train.labels)
        self._pass = math.ceil(count / config.network_batch)
        self._steps = min(math.ceil(config.network_images / config.network_batch), self._pass)
        self._order: tuple[int, torch.Tensor] = (-1, torch.empty(0))
        initial = task.initial
        stored_images = {"pixels": initial.clone(), "velocity": torch.zeros_like(initial)}
        return stored_images | self._trainee.start()

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One of the 100 steps of a network."""
        number, inner = divmod(iteration, self.config.network_steps)
        if inner == 0:
            self._trainee.renew(state, keyed_generator(task.seed, "network", number))
            self._warm_up(task, state, number)
            state["pixels"].clamp_(0, 1)
        loss = self._match(task, state, iteration)
        for step in range(iteration * self._steps, (iteration + 1) * self._steps):
            self._train(task, state, "network", step)
        return {"matching": loss}

    def real_rows(
        self, task: CondensationTask, state: Tensors, label: int, iteration: int
    ) -> torch.Tensor:
        """Rows (n,) of the real images of a class that an iteration matches."""
        return self._sampler.rows(label, iteration)

    def _match(self, task: CondensationTask, state: Tensors, iteration: int) -> torch.Tensor:
        """Every class's step of its stored images; the mean of the distances."""
        config, pixels = self.config, state["pixels"]
        change = chained_operations(task, config.augmentation, iteration)
        network = self._trainee.eaten(self._trainee.apart(self._trainee.weights(state)))
        area = (task.train.resolution / config.reference_resolution) ** 2
        rate = config.learning_rate * task.ipc * area
        classes = task.train.num_classes
        optimiser = ClassSGD(pixels, state["velocity"], classes, rate, config.momentum)
        optimiser.before()
        gradient, total = torch.empty_like(pixels), pixels.new_zeros(())
        for label in task.classes:
            rows = self.real_rows(task, state, label, iteration)
            real = standardised(task, rows)
            target = self._matcher.real(network, change(real, owners(label, real)), label)
            own = slice(label * task.ipc, (label + 1) * task.ipc)
            view = self._view(task, change, label, iteration)
            loss, gradient[own] = self._matcher.pull(network, target, pixels[own], label, view)
            total += loss
        optimiser.step(gradient)
        optimiser.after()
        return total / classes

    def _view(
        self, task: CondensationTask, change: Change, label: int, iteration: int
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """From stored images of a class to what the network eats."""
        config, decoder = self.config, task.decoder
        if config.decoding == "multi":
            decoder = Multi(decoder.factor)
        elif config.decoding == "bound":
            decoder = Bound(decoder.factor, config.synthetic_cap)

        def view(stored_images: torch.Tensor) -> torch.Tensor:
            images = decoder.decode(stored_images)
            if len(images) > config.synthetic_cap:
                generator = keyed_generator(task.seed, "subset", iteration, label)
                kept = torch.randperm(len(images), generator=generator)[: config.synthetic_cap]
                images = images[kept.to(images.device)]
            images = task.train.normalization.apply(images)
            return change(images, owners(label, images))

        return view

    def _warm_up(self, task: CondensationTask, state: Tensors, number: int) -> None:
        """Some passes of a new network over the real images."""
        steps = self.config.warmup_epochs * self._pass
        for step in range(number * steps, (number + 1) * steps):
            self._train(task, state, "warm up", step)

    def _train(self, task: CondensationTask, state: Tensors, purpose: str, step: int) -> None:
        """One step of the network on real images, in an order that is drawn anew at every pass.

        Args:
            task: as in :meth:`step`.
            state: likewise.
            purpose: of the random numbers.
            step: of all steps of this purpose in the run.
        """
        config, train = self.config, task.train
        turn, place = divmod(step, self._pass)
        key = keyed_generator(task.seed, f"{purpose} order", turn)
        if self._order[0] != key.initial_seed():
            order = torch.randperm(len(train.labels), generator=key)
            self._order = (key.initial_seed(), order)
        rows = self._order[1][place * config.network_batch : (place + 1) * config.network_batch]
        generator = keyed_generator(task.seed, f"{purpose} batch", step)
        drawn = siamese.draw(config.network_augmentation, len(rows), train.resolution, generator)
        images = siamese.apply(standardised(task, rows), drawn.to(task.device))
        mix = cutmix.draw_mix(len(rows), train.resolution, config.cutmix, generator)
        labels = train.labels[rows.to(train.labels.device)].to(task.device)
        self._trainee.train(
            state,
            images,
            labels,
            config.network_learning_rate,
            config.network_momentum,
            config.network_weight_decay,
            mix,
        )
