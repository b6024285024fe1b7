"""Images as the network of a task takes them: standardised, decoded and augmented by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from dance.augment import siamese, single
from dance.condensed.container import Space
from dance.core.rng import keyed_generator
from dance.methods.base import CondensationTask


@dataclass(frozen=True, eq=False)
class Owners:
    """The class of each of n images.

    Augmentation parameters are drawn for all K classes, so the class of an image is also the row of
    its parameters.

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

    @staticmethod
    def one(label: int, images: torch.Tensor) -> Owners:
        """Of images (n,C,H,W) that are all of one class."""
        return Owners.of(torch.full((len(images),), label), images.device)


Augmentation = Callable[[torch.Tensor, Owners], torch.Tensor]
"""An augmentation with its parameters: standardised images (n,C,H,W) and their classes to as many
images."""


def stored_images(
    task: CondensationTask, choose: Callable[[int, int], torch.Tensor]
) -> torch.Tensor:
    """Stored images (k*ipc,C,S,S) in [0,1] that are made of chosen real images.

    Args:
        task: with the real images.
        choose: a function of the label of a class and the number n of its decoded images that
            returns rows (n,) int64 of the training set, or fewer, which are then used again.
    """
    images, count = task.train.images, task.shape.decoded
    cells = task.decoder.images(1)
    index = [torch.empty(0, cells, dtype=torch.int64)]  # a process may have no class
    for label in task.classes:
        chosen = choose(label, count)
        # Cell k of stored image j has number k * ipc + j.
        cell = torch.arange(count) % len(chosen)
        index.append(chosen[cell].view(cells, task.ipc).T)
    return task.decoder.encode_initial(images, torch.cat(index).to(images.device))


class NetworkInput:
    """Makes network input of real and stored images.

    Args:
        task: with the real images, the decoder and the normalisation.
        space: of the stored images of the condensed set.
    """

    def __init__(self, task: CondensationTask, space: Space = "unit") -> None:
        self._task, self._space = task, space
        self._normalization = task.train.normalization

    def real(self, rows: torch.Tensor) -> torch.Tensor:
        """Network input (n,C,H,W) of the real images at rows (n,) of the training set."""
        stored, like = self._task.train.images, self._task.initial
        images = stored[rows.to(stored.device)].to(like.device)
        return self._normalization.apply_bytes(images, like.dtype)

    def synthetic(
        self, stored_images: torch.Tensor, subset: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Network input of decoded images, as in :meth:`dance.condensed.CondensedSet.images`.

        Args:
            stored_images: (n,C,S,S).
            subset: (m,) rows of the decoded images that are kept (none: all).

        Returns:
            (n_decoded,C,S,S), or (m,C,S,S).
        """
        decoder, images, unit = self._task.decoder, stored_images, self._space == "unit"
        if not unit and decoder.pads(images.shape[-1]):  # the padding is grey in unit space
            images, unit = self._normalization.invert(images), True
        images = decoder.decode(images)
        if subset is not None:
            images = images.index_select(0, subset)
        return self._normalization.apply(images) if unit else images


class Augmenter(Protocol):
    """A kind of augmentation, drawn for all classes at once."""

    def draw(self, step: int) -> Augmentation:
        """The augmentation of a step: the same for the real and the synthetic images of a class."""
        ...


class SingleOperation:
    """DSA: every class gets one operation of a strategy, with its own parameters.

    Args:
        task: with the classes and the seed.
        strategy: siamese strategy; empty for none.
    """

    def __init__(self, task: CondensationTask, strategy: str) -> None:
        self._task, self._strategy = task, strategy

    def draw(self, step: int) -> Augmentation:
        """The operation of each class at a step."""
        if not self._strategy:
            return lambda images, owners: images
        train, generator = self._task.train, keyed_generator(self._task.seed, "augment", step)
        drawn = single.draw(self._strategy, train.num_classes, train.resolution, generator)
        return lambda images, owners: single.apply(images, drawn.take(owners.cpu))


class ChainedOperations:
    """IDC's augmentation: every class gets a chain of operations, with its own parameters.

    Args:
        task: with the classes and the seed.
        strategy: siamese strategy; empty for none.
    """

    def __init__(self, task: CondensationTask, strategy: str) -> None:
        self._task, self._strategy = task, strategy

    def draw(self, step: int) -> Augmentation:
        """The chain of each class at a step."""
        return self.drawn(keyed_generator(self._task.seed, "augment", step))

    def drawn(self, generator: torch.Generator) -> Augmentation:
        """The chain of each class, drawn from a generator."""
        train = self._task.train
        drawn = siamese.draw(self._strategy, train.num_classes, train.resolution, generator)
        drawn = drawn.to(self._task.device)
        return lambda images, owners: siamese.apply(images, drawn.take(owners.device))


def batch_operation(
    strategy: str, count: int, resolution: int, generator: torch.Generator
) -> Callable[[torch.Tensor], torch.Tensor]:
    """DSA for training: one operation for a batch, with parameters for each image.

    Args:
        strategy: operations, of which one is drawn; empty for none.
        count: number of images in the batch.
        resolution: of the images, in pixels.
        generator: source of the random numbers.
    """
    if not strategy:
        return lambda images: images
    drawn = single.draw(strategy, count, resolution, generator, shared=True)
    return lambda images: single.apply(images, drawn)
