"""CAFE: learning to condense a data set by aligning features (Wang, Zhao et al., CVPR 2022).

Networks follow each other, each untrained at first. With one network theta, repeat

1. one SGD step of all synthetic images on

       sum_l w_l sum_c |mean_l(real, c) - mean_l(synthetic, c)|^2  +  beta sum_j CE(<f_j, centres>)

   with mean maps of every layer l, kept as maps (the outputs of all ReLUs before pooling, then the
   embedding), and real images j classified by the synthetic centres, the mean embeddings of each
   class (:func:`dance.objectives.discrimination.centre_cross_entropy`),
2. measure theta's accuracy on some training images; when the last 10 such values spread by less
   than lambda_1, go to the next network (outer loop),
3. train theta on the synthetic images, measuring after every epoch, until the last 10 values
   spread by more than lambda_2 (inner loop).

One :meth:`CAFE.step` is one image step and the inner loop after it. The network, the window of the
outer loop and the place in it are in the state, so a run goes on from inside both loops.
Standardised space, no clamp; noise as start (``init: normal`` in the run). CAFE+DSA puts both
sides of a class through one random operation, begins at real images (``init: random``) and
augments the inner training by one operation per batch; the monitors see images as they are.

The released code, which came after the paper and for CIFAR-10 alone, is followed where the two
differ: weights 0.1, 0.1, 1 of the ReLUs and 2 of the embedding, which it matches twice (equal ones
in the paper: ``shallow_weight: 1``, ``embedding_weight: 1``), all of it summed, beta 0.01 on a sum
over real images. Nobody can tell whether it made the published numbers.

``monitor: faithful`` measures as that code does: 128 fresh images of each class, and since its
counter is not reset, a K-th of the value before is added to every value of a window but the first.
With 10 classes that jump, and the noise of the draw, are as large as lambda_1 and lambda_2, so that
most of what ends the loops is chance. ``clean`` is what the paper means: the same images every
time, and nothing added.

Deviations from the paper and from the released code:

* A run is so many image steps, not so many networks, whose steps are not known before: 20000 is
  ten, the least, for each of 2000 networks. The learning rate is halved after 3/5, 4/5 and 9/10 of
  the steps, there of the networks.
* Nothing ends the released loops but the monitors; ``outer_cap`` and ``inner_cap`` do here. On
  held-out training images of CIFAR-10 (docs/results/methods.md) ``faithful`` never reached them,
  and ``clean`` most of the time: the paper's inner loop need not end by itself.
* Any data, depth of the ConvNet and images per class; all layers but the last have the weight of
  the released shallow ones. The real side has no gradient and is reduced to class means part by
  part; the discrimination's gradient is in closed form; classes are forwarded in chunks under
  fixed cotangents. All of this is exact up to rounding.
* The network's own loss on real images, which the code adds and which does not depend on the
  synthetic ones, is left out. So is the pass over the synthetic images that it throws away.
* A class's real batches come in a random order, pass after pass.
* Batch norm, with which the code does not run: training mode throughout, each side in one forward.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import ClassVar, Literal

import torch

from dance.augment import Strategy, single
from dance.condensed.container import Space
from dance.core.config import (
    AtLeastOne,
    Count,
    Momentum,
    NonNegative,
    Positive,
    configuration,
)
from dance.core.rng import key, keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.classwise_sgd import ClassSGD
from dance.methods.toolkit.distribution import (
    Change,
    Embed,
    Owners,
    forward,
    has_batch_norm,
    pictures,
    single_operation,
)
from dance.methods.toolkit.gradient import standardised, together
from dance.methods.toolkit.inner_network import SHARED, InnerNetwork
from dance.networks import State
from dance.objectives.discrimination import centre_cross_entropy
from dance.objectives.moments import class_means

_LAYERS = 2
"""Memory of an image whose layers are all kept, in forwards that keep what a gradient needs."""
_DROPS = (Fraction(3, 5), Fraction(4, 5), Fraction(9, 10))
"""Shares of all steps after which the learning rate is halved."""


@configuration
class CAFEConfig:
    """Settings of CAFE; the defaults are those of the released code."""

    iterations: AtLeastOne = 20_000
    """Steps of the images in all."""
    learning_rate: Positive = 0.1
    """Learning rate of the images, halved three times."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the images, which lasts from network to network."""
    real_batch: Count = 256
    """Real images per class and step; 0 takes all."""
    shallow_weight: NonNegative = 0.1
    """Weight of matching the maps of every ReLU but the last."""
    last_weight: NonNegative = 1.0
    """Weight of matching the maps of the last ReLU."""
    embedding_weight: NonNegative = 2.0
    """Weight of matching the embedding."""
    discrimination_weight: NonNegative = 0.01
    """Weight beta of the cross-entropy summed over the real images."""
    augmentation: Strategy = ""
    """Operations of siamese augmentation, of which one is drawn per class and step; empty: none."""
    monitor: Literal["faithful", "clean"] = "faithful"
    """How accuracy is measured: faithful (as released, on fresh images and with what is left of the
    value before) or clean (on fixed images)."""
    monitor_batch: AtLeastOne = 128
    """Training images of each class that the accuracy is measured on."""
    window: AtLeastOne = 10
    """Number of accuracies whose spread ends a loop."""
    outer_spread: NonNegative = 0.04
    """Spread lambda_1 of the accuracies, as fractions, below which the next network comes."""
    inner_spread: NonNegative = 0.03
    """Spread lambda_2 of the accuracies, as fractions, above which the training of a network
    ends."""
    outer_cap: AtLeastOne = 50
    """Largest number of steps of the images with one network."""
    inner_cap: AtLeastOne = 50
    """Largest number of epochs of a network between two steps of the images."""
    network_learning_rate: Positive = 0.01
    """Learning rate of the inner training of a network, which has no momentum."""
    network_batch: AtLeastOne = 256
    """Images per step of the inner training of a network."""


@configuration
class CAFEDSAConfig(CAFEConfig):
    """Settings of CAFE+DSA: those of CAFE, augmented (without ``flip`` for digits)."""

    augmentation: Strategy = "color_crop_cutout_flip_scale_rotate"


@METHODS.register("cafe")
class CAFE(Condenser):
    """CAFE; see the module's text.

    Beside the network the state has ``window`` (10,), the latest accuracies of the outer loop, the
    newest last; ``steps``, how many were made with this network; ``networks``, how many were drawn.
    """

    title = "CAFE"
    paper = "Wang et al., CVPR 2022"
    year = 2022
    Config = CAFEConfig
    config: CAFEConfig
    shared = SHARED | {"window", "steps", "networks"}
    whole = True
    space: ClassVar[Space] = "normalized"

    @property
    def iterations(self) -> int:
        """Steps of the images in all."""
        return self.config.iterations

    def synthetic_images(self, ipc: int, factor: int) -> int:
        """Those of a class, counted by the memory of all their layers."""
        return _LAYERS * super().synthetic_images(ipc, factor)

    def real_images(self, device: torch.device, resolution: int) -> int:
        """Those of a forward with all layers, or of a training batch, whose gradients take more."""
        return _LAYERS * max(together(device, resolution), self.config.network_batch)

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images at rest, room for a network, and an empty window."""
        config, train, initial = self.config, task.train, task.initial
        self._trainee = InnerNetwork(task)
        self._sampler = ClassSampler(train, config.real_batch, task.seed)
        self._monitor = ClassSampler(train, config.monitor_batch, key(task.seed, "monitor"))
        self._coupled = has_batch_norm(task.network)
        self._together = together(task.device, train.resolution)
        self._weights = self._layer_weights(task)
        labels = torch.arange(train.num_classes)
        self._labels = labels.repeat_interleave(task.decoder.images(task.ipc))
        counts = torch.zeros(2, dtype=torch.int64, device=task.device)
        return self._trainee.start() | {
            "pixels": initial.clone(),
            "velocity": torch.zeros_like(initial),
            "window": initial.new_zeros(config.window),
            "steps": counts[0].clone(),
            "networks": counts[1].clone(),
        }

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One step of the images and what follows it in the two loops."""
        config = self.config
        if not int(state["steps"]):
            generator = keyed_generator(task.seed, "network", int(state["networks"]))
            self._trainee.renew(state, generator)
            state["networks"] += 1
        losses = self._match(task, state, iteration)
        state["steps"] += 1
        made = int(state["steps"])
        accuracy = self._accuracy(task, state, iteration, 0)
        spread = self._spread(task, state["window"], made, accuracy)
        if (spread is not None and spread < config.outer_spread) or made == config.outer_cap:
            state["steps"].zero_()  # the next network
        else:
            self._train(task, state, iteration)
        return losses

    def _match(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One step of all images on the sum of both terms, shown as means over classes."""
        config, classes = self.config, task.train.num_classes
        change = single_operation(task, config.augmentation, iteration)
        network = self._trainee.apart(self._trainee.weights(state))
        network = self._trainee.eaten(network)

        def layers(images: torch.Tensor) -> torch.Tensor:
            return forward(task, self._layers, network, images)

        last = task.network.embedding_size
        chunk = classes if self._coupled else task.chunk
        chunks = [range(classes)[first : first + chunk] for first in range(0, classes, chunk)]
        parts = [state["pixels"][o.start * task.ipc : o.stop * task.ipc] for o in chunks]
        leaves = [part.detach().requires_grad_() for part in parts]
        pairs = list(zip(leaves, chunks, strict=True))
        with torch.set_grad_enabled(len(chunks) == 1):
            means = [self._synthetic(task, leaf, change, layers, own) for leaf, own in pairs]
        synthetic = torch.cat(means).detach()
        real, discrimination, slope = self._real(
            task, change, layers, synthetic[:, -last:], iteration
        )
        apart = synthetic - real
        cotangent = 2 * self._weights * apart
        cotangent[:, -last:] += config.discrimination_weight * slope

        gradients: list[torch.Tensor] = []
        for leaf, own in pairs:
            found = means[0]
            if len(chunks) > 1:
                found = self._synthetic(task, leaf, change, layers, own)
            gradients += torch.autograd.grad(found, leaf, cotangent[own.start : own.stop])
        gradient = torch.cat(gradients)
        rate = config.learning_rate * self._share(iteration)
        ClassSGD(state["pixels"], state["velocity"], 1, rate, config.momentum).step(gradient)
        features = (self._weights * apart.square()).sum()
        return {"features": features / classes, "discrimination": discrimination / classes}

    def _synthetic(
        self,
        task: CondensationTask,
        stored_images: torch.Tensor,
        change: Change,
        layers: Embed,
        own: range,
    ) -> torch.Tensor:
        """Mean layers (k,L) of the stored images of some classes."""
        each = task.decoder.images(task.ipc)
        owners = Owners.of(self._labels[own.start * each : own.stop * each], task.device)
        seen = change(pictures(task, stored_images, self.space), owners)
        return class_means(layers(seen), [each] * len(own))

    def _real(
        self,
        task: CondensationTask,
        change: Change,
        layers: Embed,
        centres: torch.Tensor,
        iteration: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The real batch: mean layers (K,L), the discrimination's sum and its slope (K,D)."""
        sizes, last = self._sampler.sizes(), centres.shape[1]
        rows = self._sampler.batch(iteration)
        labels = torch.arange(task.train.num_classes).repeat_interleave(torch.tensor(sizes))
        means = centres.new_zeros(len(sizes), len(self._weights))
        total, slope = centres.new_zeros(()), torch.zeros_like(centres)
        for part in self._parts(sizes):
            seen = standardised(task, rows[part])
            owners = Owners.of(labels[part], task.device)
            with torch.no_grad():
                found = layers(change(seen, owners))
            counts = torch.bincount(labels[part], minlength=len(sizes)).tolist()
            for label, own in enumerate(found.split(counts)):
                if len(own):
                    means[label] += own.sum(0) / sizes[label]
            loss, pull = centre_cross_entropy(found[:, -last:], owners.device, centres)
            total += loss
            slope += pull
        return means, total, slope

    def _parts(self, sizes: list[int]) -> list[slice]:
        """Real images that are forwarded together."""
        count = sum(sizes)
        most = count if self._coupled else self._together
        return [slice(start, start + most) for start in range(0, count, most)]

    def _train(self, task: CondensationTask, state: Tensors, iteration: int) -> None:
        """The inner loop: epochs on the synthetic images until the accuracy has moved."""
        config, window = self.config, torch.zeros_like(state["window"])
        images = pictures(task, state["pixels"], self.space)
        for epoch in range(1, config.inner_cap + 1):
            self._epoch(task, state, images, iteration, epoch)
            accuracy = self._accuracy(task, state, iteration, epoch)
            spread = self._spread(task, window, epoch, accuracy)
            if spread is not None and spread > config.inner_spread:
                return

    def _epoch(
        self,
        task: CondensationTask,
        state: Tensors,
        images: torch.Tensor,
        iteration: int,
        epoch: int,
    ) -> None:
        """One epoch of the network on the synthetic images."""
        config, labels = self.config, self._labels.to(images.device)
        generator = keyed_generator(task.seed, "inner order", iteration, epoch)
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for number, rows in enumerate(order.split(config.network_batch)):
            batch = self._augmented(task, images[rows], (iteration, epoch, number))
            self._trainee.train(state, batch, labels[rows], config.network_learning_rate)

    def _augmented(
        self, task: CondensationTask, batch: torch.Tensor, place: tuple[int, int, int]
    ) -> torch.Tensor:
        """A training batch under one operation with parameters for each image, or as it is."""
        strategy = self.config.augmentation
        if not strategy:
            return batch
        generator = keyed_generator(task.seed, "inner augment", *place)
        drawn = single.draw(strategy, len(batch), task.train.resolution, generator, shared=True)
        return single.apply(batch, drawn)

    def _accuracy(
        self, task: CondensationTask, state: Tensors, iteration: int, number: int
    ) -> torch.Tensor:
        """Mean over classes, 0-dim, of the accuracy on training images; ``number`` in its step."""
        turn = iteration * (self.config.inner_cap + 1) + number
        rows = self._monitor.batch(0 if self.config.monitor == "clean" else turn)
        sizes = self._monitor.sizes()
        network = self._trainee.eaten(self._trainee.apart(self._trainee.weights(state)))
        hits = []
        with torch.no_grad():
            for part in self._parts(sizes):
                call: Callable[[State, torch.Tensor], torch.Tensor] = self._trainee.network.logits
                logits = forward(task, call, network, standardised(task, rows[part]))
                wanted = task.train.labels[rows[part].to(task.train.labels.device)]
                hits.append(logits.argmax(1) == wanted.to(logits.device))
        return class_means(torch.cat(hits)[:, None].to(task.initial), sizes).mean()

    def _spread(
        self, task: CondensationTask, window: torch.Tensor, count: int, accuracy: torch.Tensor
    ) -> float | None:
        """Put the latest of ``count`` accuracies into a window; its spread, if it is full."""
        if self.config.monitor == "faithful" and count > 1:
            accuracy = accuracy + window[-1] / task.train.num_classes
        window.copy_(torch.cat([window[1:], accuracy[None]]))
        return float(window.max() - window.min()) if count >= len(window) else None

    def _share(self, iteration: int) -> float:
        """What is left of the learning rate."""
        return 0.5 ** sum(iteration >= drop * self.config.iterations for drop in _DROPS)

    def _layers(self, network: State, images: torch.Tensor) -> torch.Tensor:
        """All that is matched of images (n,C,H,W), end to end (n,L), the embedding last."""
        found = self._trainee.network.maps(network, images, last=True)
        return torch.cat([maps.flatten(1) for maps in found], 1)

    def _layer_weights(self, task: CondensationTask) -> torch.Tensor:
        """(L,) weight of each number in :meth:`_layers`."""
        config, train = self.config, task.train
        image = torch.empty(1, train.channels, train.resolution, train.resolution, device="meta")
        *maps, embedding = self._trainee.network.activations(image, last=True)
        weights = [config.shallow_weight] * (len(maps) - 1)
        weights += [config.last_weight, config.embedding_weight]
        parts = zip(weights, [*maps, embedding], strict=True)
        return torch.cat([task.initial.new_full((m.numel(),), weight) for weight, m in parts])


@METHODS.register("cafe_dsa")
class CAFEDSA(CAFE):
    """CAFE+DSA; see the module's text."""

    title = "CAFE+DSA"
    Config = CAFEDSAConfig
