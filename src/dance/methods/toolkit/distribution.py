"""The two sides of distribution matching, which DANCE, DM, DataDAM, M3D and IDM share.

All of them compare, class by class, what a network makes of a real batch with what it makes of the
class's synthetic images, both under one augmentation of the class. :class:`RealFeatures` forwards
the real images of many classes at once and without gradients; :class:`SyntheticImages` decodes and
forwards the synthetic ones by chunks of classes and takes the step on the pixels. The losses of
classes add up, so neither changes what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from dance.augment import siamese, single
from dance.condensed.container import Space
from dance.core.device import policy, send
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods.base import CondensationTask, Tensors
from dance.methods.toolkit.classwise_sgd import ClassOptimiser, ClassSGD
from dance.networks import Network, State
from dance.objectives.moments import class_means


@dataclass(frozen=True, eq=False)
class Owners:
    """The class of each of n images: the row of its parameters in what is drawn for all K classes.

    Attributes:
        cpu: (n,) int64 on the CPU.
        device: the same on the device of the task.
    """

    cpu: torch.Tensor
    device: torch.Tensor

    @staticmethod
    def of(labels: torch.Tensor, device: torch.device) -> Owners:
        """From labels (n,) on the CPU."""
        return Owners(labels, labels.to(device))


Change = Callable[[torch.Tensor, Owners], torch.Tensor]
"""An augmentation: standardised images (n,C,H,W) and their classes to as many images."""
Embed = Callable[[torch.Tensor], torch.Tensor]
"""Standardised images (n,C,H,W) to what is matched, (n,D)."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Own classes whose synthetic images go through one forward; the same in all iterations.

    Attributes:
        classes: their places among the own classes.
        stored_images: their rows in the state's tensors.
        images: their rows among the kept synthetic images of the own classes.
        owners: class of each kept image.
        sizes: kept images of each class.
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

    Where groups begin depends on the settings of the real side alone, neither on ``chunk`` nor on
    the synthetic images, so that a mean has the same bytes whoever asks for it.

    Attributes:
        images: (n,) parts of the batch of all own classes that are forwarded together.
        owners: class of each image, by part.
        sizes: images of each class.
    """

    images: list[slice]
    owners: list[Owners]
    sizes: list[int]


class RealFeatures:
    """Real batches of the own classes, and what networks make of them.

    Args:
        task: with the real images.
        batch: images of each class; 0 for all.
        together: images that go through one forward (none: all, as batch norm needs them).
    """

    def __init__(self, task: CondensationTask, batch: int, together: int | None) -> None:
        self.task = task
        self._sampler = ClassSampler(task.train, batch, task.seed, task.classes)
        self._groups = self._group(batch, together)

    def rows(self, step: int) -> torch.Tensor:
        """Rows (n,) of the real batch of all own classes at a step, on the CPU."""
        return self._sampler.batch(step)

    def means(self, embed: Embed, change: Change, rows: torch.Tensor) -> torch.Tensor:
        """Mean features (k,D) of the real images at ``rows`` under an augmentation, on the device.

        Args:
            embed: what is matched.
            change: augmentation for all K classes.
            rows: of :meth:`rows`, on the device.
        """
        initial, done = self.task.initial, 0
        found = initial.new_empty(0, self.task.network.embedding_size)
        for group, features in self._forward(embed, change, rows):
            if not done:
                # One tensor for all: a small one kept of every group would leave the memory of its
                # features unusable behind it, so that a step took more with every class.
                found = initial.new_empty(len(self.task.classes), features.shape[1])
            found[done : done + len(group.sizes)] = class_means(features, group.sizes)
            done += len(group.sizes)
        return found

    def features(self, embed: Embed, change: Change, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        """Features (n_c,D) of one own class after the other; arguments as :meth:`means` has them.

        Not more of them are in memory than what is forwarded together, and one class more.
        """
        for group, features in self._forward(embed, change, rows):
            yield from features.split(group.sizes)

    def _forward(
        self, embed: Embed, change: Change, rows: torch.Tensor
    ) -> Iterator[tuple[Group, torch.Tensor]]:
        """Groups of classes, each with the features (n,D) of its real images."""
        stored, dtype = self.task.train.images, self.task.initial.dtype
        for group in self._groups:
            features = []
            with torch.no_grad():
                for part, owners in zip(group.images, group.owners, strict=True):
                    images = stored[rows[part].to(stored.device)].to(self.task.device)
                    images = self.task.train.normalization.apply_bytes(images, dtype)
                    features.append(embed(change(images, owners)))
            yield group, torch.cat(features)

    def _group(self, batch: int, together: int | None) -> list[Group]:
        """The own classes in groups of as many as are forwarded together, counted among all K."""
        own, device = self.task.classes, self.task.device
        sizes, groups, start = self._sampler.sizes(), [], 0
        if together is None:
            each, together = own.stop or 1, max(1, sum(sizes))
        else:
            each = max(1, together // batch) if batch else 1
        first = own.start
        while first < own.stop:
            last = min((first // each + 1) * each, own.stop)
            some = sizes[first - own.start : last - own.start]
            labels = torch.arange(first, last).repeat_interleave(torch.tensor(some))
            stop = start + len(labels)
            parts = [slice(at, min(at + together, stop)) for at in range(start, stop, together)]
            owners = [Owners.of(part, device) for part in labels.split(together)]
            groups.append(Group(parts, owners, some))
            first, start = last, stop
        return groups


class SyntheticImages:
    """The synthetic side: chunks of the own classes, and the step on the pixels.

    Args:
        task: with the first stored images.
        learning_rate: of SGD on the pixels.
        momentum: likewise.
        steps: ``per_class``: one optimiser step a class, in turn (:class:`ClassSGD`); ``joint``:
            one for all.
        kept: synthetic images of each class that are forwarded (none: all).
        chunk: classes of one forward (none: the task's).
    """

    def __init__(
        self,
        task: CondensationTask,
        learning_rate: float,
        momentum: float,
        steps: Literal["per_class", "joint"],
        *,
        kept: int | None = None,
        chunk: int | None = None,
    ) -> None:
        self._problem, self._steps = task, steps
        self._learning_rate, self._momentum = learning_rate, momentum
        self._optimiser: ClassSGD | None = None
        kept = task.decoder.images(task.ipc) if kept is None else kept
        self._chunks = _cut(task, kept, chunk or task.chunk)

    def start(self) -> Tensors:
        """The first stored images, at rest."""
        initial = self._problem.initial
        return {"pixels": initial.clone(), "velocity": torch.zeros_like(initial)}

    def descend(
        self,
        state: Tensors,
        view: Callable[[torch.Tensor, Chunk], torch.Tensor],
        losses: Callable[[Chunk, torch.Tensor], Tensors],
        weights: Mapping[str, float | torch.Tensor],
    ) -> Tensors:
        """One step of the own classes on the weighted sum, over classes too, of some losses.

        Args:
            state: of the method; ``pixels`` and ``velocity`` change.
            view: stored images of a chunk to what a network eats.
            losses: of each class of a chunk, (k,) each by name.
            weights: of the losses in the sum, by name.

        Returns:
            The own classes' part of each mean loss over all classes, without weights.
        """
        optimiser, pixels = self.optimiser(state), state["pixels"]
        optimiser.before()
        gradient = torch.empty_like(pixels)
        totals = {name: pixels.new_zeros(()) for name in weights}
        for chunk in self._chunks:
            leaf = pixels[chunk.stored_images].detach().requires_grad_()
            found = losses(chunk, view(leaf, chunk))
            objective = torch.stack([found[name].sum() * weights[name] for name in weights]).sum()
            (gradient[chunk.stored_images],) = torch.autograd.grad(objective, leaf)
            for name, total in totals.items():
                total += found[name].detach().sum()
        optimiser.step(gradient)
        optimiser.after()
        return {name: total / self._problem.train.num_classes for name, total in totals.items()}

    def optimiser(self, state: Tensors) -> ClassOptimiser:
        """The optimiser on these tensors, made once for them; other ones override it."""
        pixels, velocity, held = state["pixels"], state["velocity"], self._optimiser
        if held is None or held.pixels is not pixels or held.velocity is not velocity:
            classes, own = 1, None
            if self._steps == "per_class":
                classes, own = self._problem.train.num_classes, self._problem.classes
            rates = (self._learning_rate, self._momentum)
            held = self._optimiser = ClassSGD(pixels, velocity, classes, *rates, own)
        return held


def _cut(task: CondensationTask, kept: int, chunk: int) -> list[Chunk]:
    """The own classes in chunks."""
    chunks = []
    for first in range(0, len(task.classes), chunk):
        labels = task.classes[first : first + chunk]
        last = first + len(labels)
        every = torch.arange(labels.start, labels.stop).repeat_interleave(kept)
        chunks.append(
            Chunk(
                slice(first, last),
                slice(first * task.ipc, last * task.ipc),
                slice(first * kept, last * kept),
                Owners.of(every, task.device),
                [kept] * len(labels),
            )
        )
    return chunks


def real_batch_size(device: torch.device, resolution: int) -> int:
    """Real images of ``resolution`` pixels that go through one forward."""
    found = policy(device)
    return found.fitting(found.forward, resolution)


def forward(
    task: CondensationTask,
    call: Callable[[State, torch.Tensor], torch.Tensor],
    state: State,
    images: torch.Tensor,
) -> torch.Tensor:
    """What a network makes of standardised images, in their dtype.

    Channels last is the layout in which convolution and pooling are fastest, on the CPU and on
    tensor cores.
    """
    with torch.autocast(task.device.type, torch.bfloat16, enabled=task.bfloat16):
        found = call(state, images.contiguous(memory_format=torch.channels_last))
    return found.to(images.dtype)


def forward_jvp(
    task: CondensationTask,
    network: Network,
    state: State,
    direction: State,
    images: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Logits of standardised images and their change along a direction; see ``Network.jvp``."""
    with torch.autocast(task.device.type, torch.bfloat16, enabled=task.bfloat16):
        return network.jvp(state, direction, images)


def has_batch_norm(network: Network) -> bool:
    """Whether a network in training mode normalises the images of a batch together."""
    return any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def fresh_network(task: CondensationTask, generator: torch.Generator) -> State:
    """An untrained network on the device, in the dtype of the stored images."""
    fresh = task.network.initial(generator)
    there = send(list(fresh.values()), task.device)
    return {name: tensor.to(task.initial) for name, tensor in zip(fresh, there, strict=True)}


def pictures(task: CondensationTask, stored_images: torch.Tensor, space: Space) -> torch.Tensor:
    """Network input (m,C,S,S), not augmented, of stored images (n,C,S,S) in ``space``.

    What :meth:`dance.condensed.CondensedSet.images` makes of a stored set.
    """
    decoder, normalization = task.decoder, task.train.normalization
    if space == "normalized" and not decoder.pads(stored_images.shape[-1]):
        return decoder.decode(stored_images)
    unit = stored_images if space == "unit" else normalization.invert(stored_images)
    return normalization.apply(decoder.decode(unit))  # the padding is grey in unit space


def single_operation(task: CondensationTask, strategy: str, iteration: int) -> Change:
    """DSA of an iteration: one operation a class, none for an empty strategy."""
    if not strategy:
        return lambda images, owners: images
    classes, resolution = task.train.num_classes, task.train.resolution
    drawn = single.draw(
        strategy, classes, resolution, keyed_generator(task.seed, "augment", iteration)
    )
    return lambda images, owners: single.apply(images, drawn.take(owners.cpu))


def chained_operations(task: CondensationTask, strategy: str, iteration: int) -> Change:
    """IDC's augmentation of an iteration: a chain of operations, parameters by class."""
    classes, resolution = task.train.num_classes, task.train.resolution
    drawn = siamese.draw(
        strategy, classes, resolution, keyed_generator(task.seed, "augment", iteration)
    )
    drawn = drawn.to(task.device)
    return lambda images, owners: siamese.apply(images, drawn.take(owners.device))
