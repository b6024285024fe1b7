"""Distribution matching class by class: what DANCE, DM, DataDAM, M3D, IDM, TGDD and NCFM share.

All of them compare, for each class, the features of a real batch with those of the class's
synthetic images, both under one augmentation of the class. :class:`RealFeatures` forwards
the real images of many classes at once and without gradients; :class:`SyntheticImages` decodes and
forwards the synthetic ones by chunks of classes and takes the step on the pixels. The losses of
classes add up, so neither changes what is computed. :class:`DistributionMatching` is one such
comparison; a method defines which network computes which features, and which loss compares them.

The *own* classes are the k classes that this process condenses, all K unless there are several
processes. *Stored* images are learned; *synthetic* images are those decoded from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

import torch

from dance.augment import Strategy
from dance.condensed.container import Space
from dance.core.config import AtLeastOne, Count, Momentum, Positive, configuration
from dance.core.device import send
from dance.data.sampler import ClassSampler
from dance.methods.base import (
    Condensation,
    CondensationTask,
    Memory,
    PixelState,
    TaskShape,
    Tensors,
)
from dance.methods.toolkit.classwise_sgd import ClassOptimiser, ClassSGD
from dance.methods.toolkit.images import Augmentation, Augmenter, NetworkInput, Owners
from dance.methods.toolkit.network import Embed, TaskNetwork
from dance.objectives.moments import class_means

S = TypeVar("S", bound=PixelState)
Steps = Literal["per_class", "joint"]
"""One optimiser step for each class, in turn, or one for all classes together."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Own classes whose synthetic images go through one forward; the same in all iterations.

    Attributes:
        classes: positions of these classes among the own classes.
        stored_images: rows of these classes in the state's tensors.
        images: rows of these classes among the kept synthetic images of the own classes.
        owners: class of each kept image.
        sizes: kept images of each class, class after class.
    """

    classes: slice
    stored_images: slice
    images: slice
    owners: Owners
    sizes: list[int]

    @property
    def labels(self) -> torch.Tensor:
        """(n,) class of each kept image, on the device."""
        return self.owners.device


@dataclass(frozen=True, eq=False)
class Group:
    """Own classes whose real images are averaged together; the same in all iterations.

    Where groups begin depends only on the settings of the real batch, neither on ``chunk`` nor on
    the synthetic images, so that a mean has the same bytes in every run and every process.

    Attributes:
        images: (n,) parts of the batch of all own classes that are forwarded together.
        owners: class of each image, by part.
        sizes: images of each class.
    """

    images: list[slice]
    owners: list[Owners]
    sizes: list[int]


class RealFeatures:
    """Real batches of the own classes, and their features.

    Args:
        task: with the real images.
        batch: images of each class; 0 for all.
        batch_size: images that go through one forward (None: all, as batch norm needs them).
    """

    def __init__(self, task: CondensationTask, batch: int, batch_size: int | None) -> None:
        self._task, self._input = task, NetworkInput(task)
        self._sampler = ClassSampler(task.train, batch, task.seed, task.classes)
        self._groups = self._group(batch, batch_size)

    def rows(self, step: int) -> torch.Tensor:
        """Rows (n,) of the real batch of all own classes at a step, on the CPU."""
        return self._sampler.batch(step)

    def means(self, embed: Embed, augmentation: Augmentation, rows: torch.Tensor) -> torch.Tensor:
        """Mean features (k,D) of the real images at ``rows`` under an augmentation, on the device.

        Args:
            embed: computes the features that are matched.
            augmentation: for all K classes.
            rows: the result of :meth:`rows`, on the device.
        """
        initial, done = self._task.initial, 0
        found = initial.new_empty(0, self._task.network.embedding_size)
        for group, features in self._forward(embed, augmentation, rows):
            if not done:
                # One tensor for all groups: a small tensor kept for every group would fragment the
                # memory of its features, and a step would take more memory with every class.
                found = initial.new_empty(len(self._task.classes), features.shape[1])
            found[done : done + len(group.sizes)] = class_means(features, group.sizes)
            done += len(group.sizes)
        return found

    def features(
        self, embed: Embed, augmentation: Augmentation, rows: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Features (n_c,D) of one own class after the other.

        At most the features of one forward and of one more class are in memory. The arguments are
        those of :meth:`means`.
        """
        for group, features in self._forward(embed, augmentation, rows):
            yield from features.split(group.sizes)

    def _forward(
        self, embed: Embed, augmentation: Augmentation, rows: torch.Tensor
    ) -> Iterator[tuple[Group, torch.Tensor]]:
        """Groups of classes, each with the features (n,D) of its real images."""
        for group in self._groups:
            with torch.no_grad():
                features = [
                    embed(augmentation(self._input.real(rows[part]), owners))
                    for part, owners in zip(group.images, group.owners, strict=True)
                ]
            yield group, torch.cat(features)

    def _group(self, batch: int, batch_size: int | None) -> list[Group]:
        """Split the own classes into groups, at boundaries that are counted over all K classes."""
        own, device = self._task.classes, self._task.device
        sizes, groups, start = self._sampler.sizes(), [], 0
        if batch_size is None:
            each, batch_size = own.stop or 1, max(1, sum(sizes))
        else:
            each = max(1, batch_size // batch) if batch else 1
        first = own.start
        while first < own.stop:
            last = min((first // each + 1) * each, own.stop)
            some = sizes[first - own.start : last - own.start]
            labels = torch.arange(first, last).repeat_interleave(torch.tensor(some))
            stop = start + len(labels)
            parts = [slice(at, min(at + batch_size, stop)) for at in range(start, stop, batch_size)]
            owners = [Owners.of(part, device) for part in labels.split(batch_size)]
            groups.append(Group(parts, owners, some))
            first, start = last, stop
        return groups


class SyntheticImages:
    """The synthetic images of the own classes, forwarded by chunks, and steps on their pixels.

    Args:
        task: with the classes.
        pixels: (k*ipc,C,S,S) the stored images, which the optimiser changes in place.
        optimiser: of the stored images.
        space: of the stored images.
        kept: synthetic images of each class that are forwarded (none: all).
        chunk: classes of one forward (none: the task's).
    """

    def __init__(
        self,
        task: CondensationTask,
        pixels: torch.Tensor,
        optimiser: ClassOptimiser,
        *,
        space: Space = "unit",
        kept: int | None = None,
        chunk: int | None = None,
    ) -> None:
        self._task, self._pixels, self._optimiser = task, pixels, optimiser
        self._input = NetworkInput(task, space)
        self._images_per_class = task.shape.decoded if kept is None else kept
        self._chunk = chunk or task.chunk
        self._chunks = self._cut()

    def descend(
        self,
        augmentation: Augmentation,
        losses: Callable[[Chunk, torch.Tensor], Tensors],
        weights: Mapping[str, float | torch.Tensor],
        subset: torch.Tensor | None = None,
    ) -> Tensors:
        """One optimiser step of the own classes on sum_classes sum_names weight * loss.

        Args:
            augmentation: for all K classes.
            losses: a function of a chunk and its augmented images (n,C,H,W) that returns losses by
                name, each with one number for each class of the chunk, (k,).
            weights: weights of the losses in the sum, by name.
            subset: the result of :meth:`subset`.

        Returns:
            By name, the loss summed over the own classes and divided by K, without its weight.
        """
        self._optimiser.before()
        gradient = torch.empty_like(self._pixels)
        totals = {name: self._pixels.new_zeros(()) for name in weights}
        for chunk in self._chunks:
            leaf = self._pixels[chunk.stored_images].detach().requires_grad_()
            images = self._input.synthetic(leaf, None if subset is None else subset[chunk.images])
            found = losses(chunk, augmentation(images, chunk.owners))
            objective = torch.stack([found[name].sum() * weights[name] for name in weights]).sum()
            (gradient[chunk.stored_images],) = torch.autograd.grad(objective, leaf)
            for name, total in totals.items():
                total += found[name].detach().sum()
        self._optimiser.step(gradient)
        self._optimiser.after()
        return {name: total / self._task.train.num_classes for name, total in totals.items()}

    def subset(self, generator: torch.Generator) -> torch.Tensor | None:
        """Rows (k*kept,) of a random choice of each own class's decoded images.

        They are counted from the first decoded image of the class's chunk. None if all images are
        kept; then nothing is drawn.
        """
        each, own = self._task.shape.decoded, self._task.classes
        if self._images_per_class == each:
            return None
        every = torch.rand(self._task.train.num_classes, each, generator=generator)
        chosen = every[own.start : own.stop].argsort(1)[:, : self._images_per_class]
        place = torch.arange(len(own)) % self._chunk
        (rows,) = send([(chosen + place[:, None] * each).flatten()], self._task.device)
        return rows

    def _cut(self) -> list[Chunk]:
        """Split the own classes into chunks."""
        own, ipc, kept = self._task.classes, self._task.ipc, self._images_per_class
        chunks = []
        for first in range(0, len(own), self._chunk):
            labels = own[first : first + self._chunk]
            last = first + len(labels)
            every = torch.arange(labels.start, labels.stop).repeat_interleave(kept)
            chunks.append(
                Chunk(
                    slice(first, last),
                    slice(first * ipc, last * ipc),
                    slice(first * kept, last * kept),
                    Owners.of(every, self._task.device),
                    [kept] * len(labels),
                )
            )
        return chunks


def pixel_sgd(
    task: CondensationTask,
    state: PixelState,
    learning_rate: float,
    momentum: float,
    steps: Steps,
) -> ClassSGD:
    """SGD on the stored images of a state.

    Args:
        task: with the classes.
        state: whose ``pixels`` and ``velocity`` change.
        learning_rate: of SGD.
        momentum: of SGD.
        steps: ``per_class``: one optimiser step a class, in turn; ``joint``: one for all.
    """
    classes, own = (task.train.num_classes, task.classes) if steps == "per_class" else (1, None)
    return ClassSGD(state.pixels, state.velocity, classes, learning_rate, momentum, own)


@configuration
class ClasswiseConfig:
    """Settings of methods that take DANCE's steps on stored images in [0,1]."""

    iterations: AtLeastOne = 10_000
    """Steps of all classes."""
    learning_rate: Positive = 0.01
    """Learning rate of the pixels for one image per class, which is multiplied by the images per
    class (published: 0.01; 0.1 for the ImageNet subsets)."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the pixels."""
    steps: Steps = "per_class"
    """Optimiser steps of an iteration: per_class (one per class) or joint (one for all classes)."""
    real_batch: Count = 128
    """Real images per class and iteration; 0 takes all."""
    augmentation: Strategy = "color_crop_cutout"
    """Operations of siamese augmentation, with one parameter draw per class; empty: none."""

    def optimiser(self, task: CondensationTask, state: PixelState) -> ClassSGD:
        """The optimiser of the stored images of a state, for the images per class of a task."""
        rate = self.learning_rate * task.ipc
        return pixel_sgd(task, state, rate, self.momentum, self.steps)


def memory_of_matching(shape: TaskShape, synthetic: int, real_batch: int) -> Memory:
    """The memory of a step of :class:`DistributionMatching` in training mode.

    Args:
        shape: sizes of the task; with batch norm, all classes go through one forward.
        synthetic: images of a class.
        real_batch: real images of a class; 0 for all.
    """
    if not shape.batch_norm:
        return Memory(synthetic=synthetic, real=shape.forward_batch)
    return Memory(synthetic=synthetic, real=sum(shape.real_batches(real_batch)), together=True)


class DistributionMatching(Condensation[S]):
    """Steps that match the features of real and synthetic images, class by class.

    Args:
        task: the task.
        state: holds the stored images.
        optimiser: of the stored images.
        augmentation: of the real and the synthetic images.
        real_batch: real images of each class; 0 for all.
        space: of the stored images.
        kept: synthetic images of each class that are forwarded (none: all).
        training: run the network in training mode. With batch norm all real images then go through
            one forward and all synthetic ones through another, so that each of the two batches is
            normalised by its own statistics: classes are coupled, and ``chunk`` has no effect.

    Attributes:
        network: of the task, in that mode.
        real: the real batches and their features.
        synthetic: the synthetic images and their optimiser.
        augmentation: of the real and the synthetic images.
    """

    def __init__(
        self,
        task: CondensationTask,
        state: S,
        optimiser: ClassOptimiser,
        augmentation: Augmenter,
        real_batch: int,
        *,
        space: Space = "unit",
        kept: int | None = None,
        training: bool = False,
    ) -> None:
        super().__init__(task, state)
        self.network = TaskNetwork(task, training=training)
        whole = self.network.coupled
        self.real = RealFeatures(task, real_batch, None if whole else task.shape.forward_batch)
        chunk = task.train.num_classes if whole else None
        self.synthetic = SyntheticImages(
            task, state.pixels, optimiser, space=space, kept=kept, chunk=chunk
        )
        self.augmentation = augmentation

    def match_means(
        self,
        iteration: int,
        embed: Embed,
        losses: Callable[[Chunk, torch.Tensor, torch.Tensor], Tensors],
        weights: Mapping[str, float | torch.Tensor],
        subset: torch.Tensor | None = None,
    ) -> Tensors:
        """One step of the stored images on losses that compare mean features.

        Args:
            iteration: number of the iteration; the real batch and the augmentation depend on it.
            embed: computes the features.
            losses: a function of a chunk, the mean real features (k,D) of its classes and its
                augmented synthetic images (n,C,H,W) that returns losses (k,) by name.
            weights: weights of the losses, by name.
            subset: synthetic images that are kept, as :meth:`SyntheticImages.subset` draws them.

        Returns:
            The result of :meth:`SyntheticImages.descend`.
        """
        augmentation, rows = self.drawn(iteration)
        real = self.real.means(embed, augmentation, rows)
        return self.synthetic.descend(
            augmentation,
            lambda chunk, images: losses(chunk, real[chunk.classes], images),
            weights,
            subset,
        )

    def match_features(
        self,
        iteration: int,
        embed: Embed,
        losses: Callable[[Chunk, Iterator[torch.Tensor], torch.Tensor], Tensors],
        weights: Mapping[str, float | torch.Tensor],
    ) -> Tensors:
        """One step of the stored images on losses that compare all features.

        The arguments are those of :meth:`match_means`, but ``losses`` gets the real features
        (n_c,D) of one class after the other, each computed when it is asked for.
        """
        augmentation, rows = self.drawn(iteration)
        real = self.real.features(embed, augmentation, rows)
        return self.synthetic.descend(
            augmentation,
            lambda chunk, images: losses(chunk, islice(real, len(chunk.sizes)), images),
            weights,
        )

    def drawn(self, iteration: int) -> tuple[Augmentation, torch.Tensor]:
        """The augmentation of an iteration and the rows of its real batch, on the device."""
        (rows,) = send([self.real.rows(iteration)], self.task.device)
        return self.augmentation.draw(iteration), rows
