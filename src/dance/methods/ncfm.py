"""NCFM: neural characteristic function matching (Wang et al., CVPR 2025).

Each iteration

1. takes one expert and lambda ~ U(0,1) and mixes its first and last weights, as DANCE does,
2. for every class, augments a real batch and the decoded synthetic images alike, scales their
   features to length 1, and lowers 300 times the distance of their empirical characteristic
   functions at random frequencies (:mod:`dance.objectives.characteristic`),
3. lowers the expert's cross-entropy on the synthetic images, under another augmentation,

with AdamW on stored images in [0,1], which are clamped before every iteration, and a learning rate
that is halved whenever the sum of both losses over classes has not fallen for 500 iterations.

The defaults are the released code, which computes the paper's row "fixed frequencies". Where the
paper has something else, the option that gives it is in brackets:

* Frequencies are normal. In the paper a network makes the scales of a mixture of normals, 16
  frequencies for each, and learns to raise the distance that the stored images lower (``sampling:
  learned``, ``frequencies: 1024``). The released code switches that off, and what it would do with
  it on is nothing: it adds the network's gradient and takes it away again. Here its ascent has a
  gradient of its own, once per iteration, of the mean over classes.
* Features of length 1, the factor 300 and the calibration (3.) are not in the paper
  (``calibration_weight: 0``; the released weight was 25 for a day, then 1).
* Each class's first 1024 images are its real batch at every iteration (``real: random``).
* Weights of the two parts of the distance are equal, with which it is the modulus of the
  difference, whatever is said of amplitude and phase (``amplitude``, ``phase``).
* Weight decay acts on the pixels: with 100 classes it would shrink them to 0.14 in a run at a
  constant rate (``weight_decay: 0``).
* Every class takes its own optimiser step on the shared stored images, so that a class moves by
  about
  sqrt(K) learning rates an iteration; over 8 processes the released code splits the classes, and
  its numbers come from either (``steps: joint``: one step of all, as if each class had its own).

Deviations from the released code: its synthetic batches are made ahead, so that a gradient may be
that of stored images up to ten steps old; here never. Frequencies are drawn once for all classes
of an iteration, not for each: what each class sees is distributed as before. Experts are loaded
once, not from disk at every iteration, and buffers of batch norm are mixed too, as in DANCE.
Classes share their forwards, and their steps, those without a gradient included, are made together
(:mod:`dance.methods.toolkit.classwise_adamw`). The sampling network, which is made for features of
2048 numbers there, fits any.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Literal

import torch
from torch.nn import functional

from dance.augment import Strategy
from dance.core.config import AtLeastOne, Count, Momentum, NonNegative, Positive, configuration
from dance.core.errors import ConfigError, MissingExpertsError
from dance.core.rng import keyed_generator
from dance.experts import interpolate
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.classwise_adamw import ClassAdamW
from dance.methods.toolkit.classwise_sgd import ClassOptimiser, ClassSGD
from dance.methods.toolkit.distribution import (
    Change,
    Chunk,
    RealFeatures,
    SyntheticImages,
    chained_operations,
    forward,
    pictures,
    real_batch_size,
)
from dance.networks import Network, State
from dance.objectives.calibration import class_cross_entropy
from dance.objectives.characteristic import (
    characteristic,
    characteristic_distance,
    mixture_scales,
)

_SCALE = 300.0
"""Of the distance, as released."""
_REPEATS = 16
"""Frequencies that share the scale which the sampling network gave."""
_BLOCKS = 3
_FACTOR, _THRESHOLD = 0.5, 1e-4
"""Of the learning rate, and by what share the loss must fall to count as fallen."""


@configuration
class NCFMConfig:
    """Settings of NCFM; the defaults are those of the released code."""

    iterations: AtLeastOne = 20_000
    """Steps of all classes."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """Optimiser of the pixels: adamw or sgd."""
    learning_rate: Positive = 0.001
    """Learning rate of the pixels, whatever the images per class."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the pixels; AdamW has its own."""
    weight_decay: NonNegative = 5e-4
    """Weight of AdamW's decoupled decay of the pixels; SGD has none."""
    steps: Literal["per_class", "joint"] = "per_class"
    """Optimiser steps of an iteration: per_class (one per class and loss) or joint (one for
    all)."""
    patience: Count = 500
    """Iterations without a lower loss after which the learning rate is halved; 0: never."""
    real_batch: Count = 1024
    """Real images per class and iteration; 0 takes all."""
    real: Literal["first", "random"] = "first"
    """Which real images of each class are matched: the first, always the same, or random ones."""
    frequencies: AtLeastOne = 4096
    """Number of frequencies at which the characteristic functions are compared."""
    sampling: Literal["normal", "learned"] = "normal"
    """How frequencies are drawn: normal, or learned (their scales are, to tell real and synthetic
    features apart)."""
    amplitude: NonNegative = 0.5
    """Weight of the difference of the amplitudes of the characteristic functions."""
    phase: NonNegative = 0.5
    """Weight of the difference of the phases of the characteristic functions."""
    calibration_weight: NonNegative = 1.0
    """Weight of the expert's cross-entropy; 0: no calibration step."""
    augmentation: Strategy = "color_crop_cutout"
    """Operations of siamese augmentation, with one parameter draw per class and loss; empty:
    none."""
    sampler_learning_rate: Positive = 0.001
    """Learning rate of the network that learns the scales of the frequencies."""
    sampler_momentum: Momentum = 0.5
    """Momentum of SGD on the network that learns the scales of the frequencies."""


class Paced(SyntheticImages):
    """Stored images under the optimiser and at the learning rate that the state says.

    Args:
        task: with the first stored images.
        config: of the method.
    """

    def __init__(self, task: CondensationTask, config: NCFMConfig) -> None:
        super().__init__(task, config.learning_rate, config.momentum, config.steps)
        self._config, self._own = config, task.classes
        self._cycle = task.train.num_classes

    def start(self) -> Tensors:
        """The first stored images at rest, the learning rate, and how many steps were made."""
        state = super().start()
        state["pixel_rate"] = state["pixels"].new_tensor(self._config.learning_rate)
        state["updates"] = torch.zeros((), dtype=torch.int64, device=state["pixels"].device)
        if self._config.optimiser == "adamw":
            state["squares"] = torch.zeros_like(state["velocity"])
        return state

    def optimiser(self, state: Tensors) -> ClassOptimiser:
        """One for the next cycle."""
        config, rate, done = self._config, float(state["pixel_rate"]), int(state["updates"])
        classes, own = (1, None) if config.steps == "joint" else (self._cycle, self._own)
        state["updates"] += classes
        pixels, velocity = state["pixels"], state["velocity"]
        if config.optimiser == "sgd":
            return ClassSGD(pixels, velocity, classes, rate, config.momentum, own)
        moments = (velocity, state["squares"])
        return ClassAdamW(pixels, moments, classes, rate, config.weight_decay, done, own)


class Sampler:
    """The network that learns the scales of frequencies; its weights lie flat in the state.

    Args:
        size: D, numbers in a feature.
    """

    def __init__(self, size: int) -> None:
        block = [torch.Size((size, size)), *[torch.Size((size,))] * 3]
        self._shapes, self._bound = block * _BLOCKS, 1 / math.sqrt(size)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """(P,) weights on the CPU, as PyTorch would draw them."""
        parts = []
        for number, shape in enumerate(self._shapes):
            place = number % 4  # weight, bias, scale, shift
            part = torch.full(shape, float(place == 2))
            if place < 2:
                part.uniform_(-self._bound, self._bound, generator=generator)
            parts.append(part.flatten())
        return torch.cat(parts)

    def scales(self, weights: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """(n,D) in (-1,1) of noise (n,D)."""
        parts = weights.split([shape.numel() for shape in self._shapes])
        pairs = zip(parts, self._shapes, strict=True)
        return mixture_scales([part.view(shape) for part, shape in pairs], noise)


class Frequencies:
    """The frequencies of an iteration, and how the loss rises with what made them.

    Args:
        values: (F,D).
        normal: (F,D) the normal numbers in them, where their scales are learned.
        leaf: (P,) weights of the sampling network.
        scales: (F/16,D) that it made, with the graph.
    """

    def __init__(
        self,
        values: torch.Tensor,
        normal: torch.Tensor | None = None,
        leaf: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> None:
        self.values, self.leaf = values, leaf
        self._normal, self._scales = normal, scales
        self._slope = torch.zeros_like(values) if leaf is not None else None

    def collect(self, slope: torch.Tensor) -> None:
        """Add the derivative (F,D) of a class's loss by the frequencies."""
        assert self._slope is not None
        self._slope += slope

    def rise(self) -> torch.Tensor:
        """Derivative (P,) of the sum over classes by the weights of the sampling network."""
        assert self._slope is not None and self._normal is not None and self._scales is not None
        pulled = (self._slope * self._normal).view(_REPEATS, *self._scales.shape).sum(0)
        assert self.leaf is not None
        return torch.autograd.grad(self._scales, self.leaf, pulled)[0]


@METHODS.register("ncfm")
class NCFM(Condenser):
    """NCFM; see the module's text."""

    title = "NCFM"
    paper = "Wang et al., CVPR 2025"
    year = 2025
    Config = NCFMConfig
    config: NCFMConfig
    shared = frozenset(
        {"pixel_rate", "updates", "lowest", "stalled", "sampler", "sampler_velocity"}
    )

    def __init__(self, config: NCFMConfig) -> None:
        """Refuse frequencies that the sampling network cannot make.

        Raises:
            ConfigError: they are not in groups, or there is one group only.
        """
        super().__init__(config)
        count = config.frequencies
        least = 2 * _REPEATS if config.sampling == "learned" else 1
        if count < least or (config.sampling == "learned" and count % _REPEATS):
            must = f"a multiple of {_REPEATS} from {least} on" if least > 1 else "at least 1"
            raise ConfigError(
                f"options.frequencies must be {must} with sampling {config.sampling}: got {count}"
            )

    @property
    def iterations(self) -> int:
        """Steps of all classes."""
        return self.config.iterations

    def needs_experts(self) -> bool:
        """They are mixed, and calibrate."""
        return True

    def couples(self, network: Network) -> bool:
        """The learning rate depends on the losses of all classes, learned frequencies on them."""
        return bool(self.config.patience) or self.config.sampling == "learned"

    def real_images(self, device: torch.device, resolution: int) -> int:
        """Those of a group of classes."""
        return real_batch_size(device, resolution)

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images, the state of their optimiser, the schedule, and the frequency network.

        Raises:
            MissingExpertsError: the task holds no experts.
        """
        if not task.experts:
            raise MissingExpertsError(
                "NCFM needs at least one expert: got none; train some (dance experts DATA)"
            )
        config, initial = self.config, task.initial
        together = self.real_images(task.device, task.train.resolution)
        self._real = RealFeatures(task, config.real_batch, together)
        self._first: torch.Tensor | None = None
        if config.real == "first":
            every = [task.train.rows(label) for label in task.classes]
            self._first = torch.cat([rows[: config.real_batch or None] for rows in every])
        self._synthetic = Paced(task, config)
        self._sampler = Sampler(task.network.embedding_size)
        state = self._synthetic.start() | {
            "lowest": initial.new_tensor(math.inf),
            "stalled": torch.zeros((), dtype=torch.int64, device=task.device),
        }
        if config.sampling == "learned":
            weights = self._sampler.start(keyed_generator(task.seed, "sampler")).to(initial)
            state |= {"sampler": weights, "sampler_velocity": torch.zeros_like(weights)}
        return state

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One iteration."""
        config = self.config
        generator = keyed_generator(task.seed, "encoder", iteration)
        initial, expert = task.experts[
            int(torch.randint(len(task.experts), (), generator=generator))
        ]
        encoder = interpolate(initial, expert, float(torch.rand((), generator=generator)))
        state["pixels"].clamp_(0, 1)
        losses = self._match(task, state, iteration, encoder)
        if config.calibration_weight:
            losses |= self._calibrate(task, state, iteration, expert)
        if config.patience:
            weights = {"matching": 1.0, "calibration": config.calibration_weight}
            total = sum(float(loss) * weights[name] for name, loss in losses.items())
            self._pace(state, total * task.train.num_classes)
        return losses

    def _match(
        self, task: CondensationTask, state: Tensors, iteration: int, encoder: State
    ) -> Tensors:
        """A step of every class on the distance of characteristic functions."""
        config = self.config
        change = chained_operations(task, config.augmentation, 2 * iteration)
        drawn = self._frequencies(task, state, iteration)
        rows = self._real.rows(iteration) if self._first is None else self._first

        def embed(images: torch.Tensor) -> torch.Tensor:
            return functional.normalize(forward(task, task.network.embed, encoder, images))

        real = self._real.features(embed, change, rows.to(task.device))

        def losses(chunk: Chunk, images: torch.Tensor) -> Tensors:
            parts = embed(images).split(chunk.sizes)
            pairs = zip(islice(real, len(parts)), parts, strict=True)
            return {"matching": torch.stack([self._distance(*pair, drawn) for pair in pairs])}

        view = self._view(task, change)
        found = self._synthetic.descend(state, view, losses, {"matching": 1.0})
        if config.sampling == "learned":
            velocity = state["sampler_velocity"].mul_(config.sampler_momentum)
            velocity.add_(drawn.rise(), alpha=1 / task.train.num_classes)
            state["sampler"].add_(velocity, alpha=config.sampler_learning_rate)
        return found

    def _calibrate(
        self, task: CondensationTask, state: Tensors, iteration: int, expert: State
    ) -> Tensors:
        """A step of every class on the expert's cross-entropy."""
        change = chained_operations(task, self.config.augmentation, 2 * iteration + 1)

        def losses(chunk: Chunk, images: torch.Tensor) -> Tensors:
            logits = forward(task, task.network.logits, expert, images)
            return {"calibration": class_cross_entropy(logits, chunk.labels, chunk.sizes)}

        view = self._view(task, change)
        weights = {"calibration": self.config.calibration_weight}
        return self._synthetic.descend(state, view, losses, weights)

    def _view(
        self, task: CondensationTask, change: Change
    ) -> Callable[[torch.Tensor, Chunk], torch.Tensor]:
        """From stored images of a chunk to what a network eats."""
        return lambda stored_images, chunk: change(
            pictures(task, stored_images, self.space), chunk.owners
        )

    def _frequencies(self, task: CondensationTask, state: Tensors, iteration: int) -> Frequencies:
        """Those of an iteration, for all classes."""
        config, size = self.config, task.network.embedding_size
        generator = keyed_generator(task.seed, "frequencies", iteration)
        normal = torch.randn(config.frequencies, size, generator=generator).to(task.initial)
        if config.sampling == "normal":
            return Frequencies(normal)
        noise = torch.randn(config.frequencies // _REPEATS, size, generator=generator)
        leaf = state["sampler"].detach().requires_grad_()
        scales = self._sampler.scales(leaf, noise.to(task.initial))
        return Frequencies(scales.detach().repeat(_REPEATS, 1) * normal, normal, leaf, scales)

    def _distance(
        self, real: torch.Tensor, synthetic: torch.Tensor, drawn: Frequencies
    ) -> torch.Tensor:
        """Loss of a class, from real (n,D) and synthetic (m,D) features.

        Its derivative is taken at once: a graph over all classes would keep (F,m) phases of each.
        """
        config, at = self.config, drawn.values
        with torch.no_grad():
            wanted = characteristic(real, at)
        leaf = synthetic.detach().requires_grad_()
        with torch.enable_grad():
            own = characteristic(leaf, at)
            loss = _SCALE * characteristic_distance(wanted, own, config.amplitude, config.phase)
        (slope,) = torch.autograd.grad(loss, leaf)
        if drawn.leaf is not None:
            moved = at.detach().requires_grad_()
            both = characteristic(real, moved), characteristic(synthetic.detach(), moved)
            rising = _SCALE * characteristic_distance(*both, config.amplitude, config.phase)
            drawn.collect(torch.autograd.grad(rising, moved)[0])
        return loss.detach() + ((synthetic - leaf.detach()) * slope).sum()

    def _pace(self, state: Tensors, loss: float) -> None:
        """Halve the learning rate when the loss has not fallen for long."""
        if loss < float(state["lowest"]) * (1 - _THRESHOLD):
            state["lowest"].fill_(loss)
            state["stalled"].zero_()
            return
        state["stalled"] += 1
        if int(state["stalled"]) > self.config.patience:
            state["pixel_rate"] *= _FACTOR
            state["stalled"].zero_()
