"""DANCE: dual-view distribution alignment (Zhang, Li, Lin, Wang, Qian & Ge, IJCAI 2024).

Algorithm 1. Given N experts with their first and last weights, each iteration

1. draws one expert n and lambda ~ U(0,1) and makes the mid encoder (Eq. 3),
2. moves each class's mean synthetic feature towards its mean real feature (Eq. 4, PLTDA),
3. every I_c iterations, lowers the expert's cross-entropy on the synthetic images (Eq. 5).

Deviations from the paper, which follow the released settings that made the published numbers; the
option that gives the paper's form is in brackets:

* Eq. 4 compares a batch of 128 real images with the class's synthetic images, both under the same
  random augmentation, not whole classes without one (``real_batch: 0``, ``augmentation: ""``).
* Eq. 5 is averaged over each class, so a pixel's gradient is K times that of the mean over the
  whole set (``calibration_mean: set``).
* Every class takes its own optimiser step with momentum 0.5 on the shared stored images, in closed
  form
  (:mod:`dance.methods.toolkit.classwise_sgd`), not one plain step (``steps: joint``, ``momentum:
  0``).
* The stored images start from the first real images of each class (``init: random`` in the run).
* Average pooling is 2x2 (``network.pooling: 3`` in the run).

Deviations from the released code: experts are loaded once, not twice an iteration; network weights
get no gradients; all classes share one forward (their losses do not interact); a class smaller than
the real batch gives all its images at every step; where a strategy names several of crop, scale and
rotate, one of them is drawn for all classes of an iteration, not one per class; buffers of
batch-norm networks are interpolated too and the encoders run in evaluation mode, where the released
code would keep the statistics of an untrained network. ``encoder`` other than ``mid`` switches
PLTDA off in both readings of Table 5: a fresh random encoder each iteration, which is DM, or one
for the whole run, which is what the released code does.

``real_targets: bank`` amortises the real side, which neither paper nor code does. What it makes of
iteration e = 0..N-1 (expert, lambda, augmentation, real batch and so the mean real features) is
computed once, as the exact form does it, and stored. Iteration t then matches the entry
``order[t mod N]`` in an order drawn anew for every turn of N iterations, and the synthetic images
get the augmentation of that entry. Calibration and the choice below ``synthetic_cap`` stay fresh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

import torch

from dance.augment import Strategy, siamese
from dance.core.config import AtLeastOne, Count, Momentum, Option, Positive, configuration
from dance.core.device import send
from dance.core.errors import MissingExpertsError
from dance.core.rng import keyed_generator
from dance.experts import interpolate
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.distribution import (
    Chunk,
    Owners,
    RealFeatures,
    SyntheticImages,
    forward,
    fresh_network,
    real_batch_size,
)
from dance.networks import State
from dance.objectives.calibration import class_cross_entropy
from dance.objectives.moments import class_means, mean_distance


@configuration
class DANCEConfig:
    """Settings of DANCE; the defaults are those that made the published numbers."""

    iterations: AtLeastOne = 10_000
    """Iterations of the condensation: I of Algorithm 1."""
    learning_rate: Positive = 0.01
    """Learning rate of the pixels for one image per class: eta, which is multiplied by the images
    per class (published: 0.01; 0.1 for the ImageNet subsets)."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the pixels."""
    steps: Literal["per_class", "joint"] = "per_class"
    """Optimiser steps of an iteration: per_class (one per class and loss, as released) or joint
    (one per loss for all classes, as Algorithm 1 writes)."""
    real_batch: Count = 128
    """Real images per class and iteration; 0 takes all, as Eq. 4 writes."""
    synthetic_cap: AtLeastOne = 200
    """Largest number of decoded images per class and iteration."""
    augmentation: Strategy = "color_crop_cutout"
    """Operations of siamese augmentation, with one parameter draw per class; empty: none."""
    encoder: Literal["mid", "random", "fixed_random"] = "mid"
    """Encoder of the features: mid (interpolated experts: PLTDA, Eq. 3), random (a fresh random
    network each iteration: PLTDA off, as DM) or fixed_random (one random network for the whole run:
    PLTDA off, as released)."""
    calibration: bool = True
    """Calibrate the distribution by the cross-entropy of an expert (Eq. 5)."""
    calibration_interval: AtLeastOne = 1
    """Iterations between two calibration steps: I_c of Algorithm 1."""
    calibration_mean: Literal["class", "set"] = "class"
    """Images over which the cross-entropy of calibration is averaged: each class (released) or the
    whole set (Eq. 5)."""
    real_targets: Annotated[Literal["exact", "bank"], Option(short="--real-targets")] = "exact"
    """What the synthetic features are matched with: exact (real images that are embedded anew at
    every step) or bank (mean features that were computed once and serve all runs of the same
    experts)."""
    bank_draws: Annotated[AtLeastOne, Option(short="--bank-draws")] = 50
    """Number N of random draws of real images whose mean features the bank holds."""

    def __post_init__(self) -> None:
        """Refuse a bank of features under encoders that are no experts' mixtures."""
        if self.real_targets == "bank" and self.encoder != "mid":
            raise ValueError(
                "real_targets bank needs encoder mid, whose networks come from the experts that a "
                f"bank is stored with: got encoder {self.encoder}; use --real-targets exact"
            )


@dataclass(frozen=True, eq=False)
class Drawn:
    """The random numbers of one view in one iteration, on the device.

    Attributes:
        augment: parameters for all K classes.
        subset: (k*kept,) rows of the synthetic images that are kept, each within its chunk; None
            where all are.
    """

    augment: siamese.Draw
    subset: torch.Tensor | None


@METHODS.register("dance")
class DANCE(Condenser):
    """DANCE; see the module's text."""

    title = "DANCE"
    paper = "Zhang et al., IJCAI 2024"
    year = 2024
    Config = DANCEConfig
    config: DANCEConfig

    def __init__(self, config: DANCEConfig) -> None:
        super().__init__(config)
        self._real: RealFeatures | None = None

    @property
    def iterations(self) -> int:
        """I of Algorithm 1."""
        return self.config.iterations

    def needs_experts(self) -> bool:
        """Experts make the mid encoders and the calibration."""
        return self.config.encoder == "mid" or self.config.calibration

    def bank_draws(self) -> int:
        """N where a bank is asked for."""
        return self.config.bank_draws if self.config.real_targets == "bank" else 0

    def bank_settings(self) -> dict[str, Any]:
        """The real batch and how it is augmented."""
        config = self.config
        return {"augmentation": config.augmentation, "real_batch": config.real_batch}

    def bank_entry(self, task: CondensationTask, number: int) -> torch.Tensor:
        """The mean real features (k,D) that an exact step of this number matches."""
        resolution, train = self._resolution(task), task.train
        generator = keyed_generator(task.seed, "alignment", number)
        augment = siamese.draw(
            self.config.augmentation, train.num_classes, train.resolution, generator
        )
        rows, *sent = send([resolution.rows(number), *augment.tensors()], task.device)
        _, encoder = self._encoders(task, number)
        return self._means(resolution, encoder, augment.like(sent), rows)

    def synthetic_images(self, ipc: int, factor: int) -> int:
        """Decoded images up to the cap."""
        return min(super().synthetic_images(ipc, factor), self.config.synthetic_cap)

    def real_images(self, device: torch.device, resolution: int) -> int:
        """Those of a group; on a GPU fewer of larger images."""
        return real_batch_size(device, resolution)

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images and their momentum; everything else that a step needs is made here, once.

        Raises:
            MissingExpertsError: the task holds no experts, or no bank of as many entries as are
                asked for, and these settings need them.
        """
        if self.needs_experts() and not task.experts:
            raise MissingExpertsError(
                "DANCE with mid encoders or calibration needs at least one expert: got none; train "
                "some (dance experts DATA) or set encoder random and calibration false"
            )
        held = 0 if task.bank is None else len(task.bank)
        if held != self.bank_draws():
            raise MissingExpertsError(
                f"DANCE with real_targets {self.config.real_targets} needs a bank of "
                f"{self.bank_draws()} entries: got {held}; make one (dance bank DATA) or set "
                "real_targets exact"
            )
        self._real = None  # a bank may have been made with the images, which are not needed then
        if task.bank is None:
            self._resolution(task)
        self._turn: tuple[int, list[int]] = (-1, [])
        self._each = task.decoder.images(task.ipc)
        self._kept = self.synthetic_images(task.ipc, task.decoder.factor)
        config, rate = self.config, self.config.learning_rate * task.ipc
        self._synthetic = SyntheticImages(
            task, rate, config.momentum, config.steps, kept=self._kept
        )
        return self._synthetic.start()

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One iteration of Algorithm 1.

        The views share neither decoding nor a forward: each takes its own step on the stored
        images, so the second sees other images than the first.
        """
        config = self.config
        views = ["alignment"]
        if config.calibration and iteration % config.calibration_interval == 0:
            views.append("calibration")
        number = self._number(task, iteration)
        expert, encoder = self._encoders(task, number)
        if task.bank is None:
            resolution = self._resolution(task)
            drawn, rows = self._draw(task, views, iteration, number, resolution)
            real = self._means(resolution, encoder, drawn[0].augment, rows)
        else:
            drawn, _ = self._draw(task, views, iteration, number)
            real = task.bank[number]
        state["pixels"].clamp_(0, 1)

        def alignment(chunk: Chunk, images: torch.Tensor) -> Tensors:
            """Eq. 4, a number for each class of the chunk."""
            found = forward(task, task.network.embed, encoder, images)
            return {
                "alignment": mean_distance(real[chunk.classes], class_means(found, chunk.sizes))
            }

        def calibration(chunk: Chunk, images: torch.Tensor) -> Tensors:
            """Eq. 5, a number for each class of the chunk."""
            logits = forward(task, task.network.logits, expert, images)
            return {"calibration": class_cross_entropy(logits, chunk.labels, chunk.sizes)}

        def view(number: int) -> Callable[[torch.Tensor, Chunk], torch.Tensor]:
            return lambda stored_images, chunk: self._view(
                task, stored_images, chunk, drawn[number]
            )

        share = 1 / task.train.num_classes if config.calibration_mean == "set" else 1.0
        losses = self._synthetic.descend(state, view(0), alignment, {"alignment": 1.0})
        if len(views) > 1:
            losses |= self._synthetic.descend(state, view(1), calibration, {"calibration": share})
        return losses

    def _view(
        self, task: CondensationTask, stored_images: torch.Tensor, chunk: Chunk, drawn: Drawn
    ) -> torch.Tensor:
        """Network input of the stored images of a chunk: decoded, standardised and augmented."""
        images = task.decoder.decode(stored_images)
        if drawn.subset is not None:
            images = images.index_select(0, drawn.subset[chunk.images])
        images = task.train.normalization.apply(images)
        return siamese.apply(images, drawn.augment.take(chunk.labels))

    def _means(
        self, resolution: RealFeatures, encoder: State, augment: siamese.Draw, rows: torch.Tensor
    ) -> torch.Tensor:
        """Mean real features (k,D) under an encoder and an augmentation, all on the device."""
        task = resolution.task

        def embed(images: torch.Tensor) -> torch.Tensor:
            return forward(task, task.network.embed, encoder, images)

        def change(images: torch.Tensor, owners: Owners) -> torch.Tensor:
            return siamese.apply(images, augment.take(owners.device))

        return resolution.means(embed, change, rows)

    def _number(self, task: CondensationTask, iteration: int) -> int:
        """Whose real side an iteration has: its own, or that of an entry of the bank."""
        if task.bank is None:
            return iteration
        count = len(task.bank)
        turn, place = divmod(iteration, count)
        if self._turn[0] != turn:
            order = torch.randperm(count, generator=keyed_generator(task.seed, "bank order", turn))
            self._turn = (turn, order.tolist())
        return self._turn[1][place]

    def _resolution(self, task: CondensationTask) -> RealFeatures:
        """The real side of a task, made once for it."""
        if self._real is None or self._real.task is not task:
            together = self.real_images(task.device, task.train.resolution)
            self._real = RealFeatures(task, self.config.real_batch, together)
        return self._real

    def _draw(
        self,
        task: CondensationTask,
        views: Sequence[str],
        iteration: int,
        number: int,
        resolution: RealFeatures | None = None,
    ) -> tuple[list[Drawn], torch.Tensor]:
        """What is random in every view, made on the CPU for all classes and sent in one copy.

        Args:
            task: as in :meth:`step`.
            views: of the iteration; the first is the alignment.
            iteration: t.
            number: whose real side it has.
            resolution: to draw real images from; none where a bank holds their means.

        Returns:
            What is drawn for each view, and rows of the real images (none without a side).
        """
        classes, pixels = task.train.num_classes, task.train.resolution
        rows = torch.empty(0, dtype=torch.int64) if resolution is None else resolution.rows(number)
        augments, subsets = [], []
        for view in views:
            matched = view == "alignment"
            generator = keyed_generator(task.seed, view, number if matched else iteration)
            augments.append(siamese.draw(self.config.augmentation, classes, pixels, generator))
            if matched and task.bank is not None:
                generator = keyed_generator(task.seed, "subset", iteration)
            subsets.append(self._subset(task, generator))
        several = [tensor for augment in augments for tensor in augment.tensors()]
        sent = iter(send([rows, *several, *(s for s in subsets if s is not None)], task.device))
        rows = next(sent)
        there = [augment.like(list(islice(sent, len(augment.tensors())))) for augment in augments]
        kept = [None if subset is None else next(sent) for subset in subsets]
        return [Drawn(*pair) for pair in zip(there, kept, strict=True)], rows

    def _subset(self, task: CondensationTask, generator: torch.Generator) -> torch.Tensor | None:
        """Rows (k*kept,) of a random choice of each class's synthetic images, by chunk, if any."""
        if self._kept == self._each:
            return None
        every = torch.rand(task.train.num_classes, self._each, generator=generator)
        own = every[task.classes.start : task.classes.stop]
        chosen = own.argsort(1)[:, : self._kept]
        place = torch.arange(len(task.classes)) % task.chunk
        return (chosen + place[:, None] * self._each).flatten()

    def _encoders(self, task: CondensationTask, number: int) -> tuple[State, State]:
        """The drawn expert and the encoder for matching (Eq. 3)."""
        generator = keyed_generator(task.seed, "encoder", number)
        expert: State = {}
        if task.experts:
            drawn = int(torch.randint(len(task.experts), (), generator=generator))
            initial, expert = task.experts[drawn]
        if self.config.encoder == "mid":
            return expert, interpolate(initial, expert, float(torch.rand((), generator=generator)))
        if self.config.encoder == "fixed_random":
            generator = keyed_generator(task.seed, "fixed encoder")
        return expert, fresh_network(task, generator)
