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
* Every class takes its own optimiser step with momentum 0.5 on the shared canvases, in closed form
  (:mod:`dance.condensed.class_sgd`), not one plain step (``steps: joint``, ``momentum: 0``).
* The canvases start from the first real images of each class (``init: random`` in the run).
* Average pooling is 2x2 (``network.pooling: 3`` in the run).

Deviations from the released code: experts are loaded once, not twice an iteration; network weights
get no gradients; all classes share one forward (their losses do not interact); a class smaller than
the real batch gives all its images at every step; where a strategy names several of crop, scale and
rotate, one of them is drawn for all classes of an iteration, not one per class; buffers of
batch-norm networks are interpolated too and the encoders run in evaluation mode, where the released
code would keep the statistics of an untrained network. ``encoder`` other than ``mid`` switches
PLTDA off in both readings of Table 5: a fresh random encoder each iteration, which is DM, or one
for the whole run, which is what the released code does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from dance.augment import siamese
from dance.condensed import decode
from dance.condensed.class_sgd import ClassSGD
from dance.core.errors import MissingExpertsError
from dance.core.rng import generator
from dance.data.sampler import ClassSampler
from dance.experts.interpolate import interpolate
from dance.methods.base import METHODS, Condenser, Problem, Tensors
from dance.networks import State
from dance.objectives.calibration import class_cross_entropy
from dance.objectives.moments import class_means, mean_distance
from dance.training.fit import standardise

_REAL_BATCH = {"cpu": 64, "cuda": 4096}
"""Real images that are forwarded together: small enough for the cache, large enough for the GPU."""


@dataclass(frozen=True, kw_only=True)
class DanceConfig:
    """Settings of DANCE; the defaults are those that made the published numbers.

    Attributes:
        iterations: I of Algorithm 1.
        learning_rate: eta for one image per class; the step is this times ipc (0.01; 0.1 for the
            ImageNet subsets).
        momentum: of SGD on the pixels.
        steps: ``per_class``: one optimiser step per class and loss, as released; ``joint``: one
            step per loss for all classes, as Algorithm 1 writes.
        real_batch: real images per class and iteration; 0 takes all, as Eq. 4 writes.
        synthetic_cap: decoded images per class and iteration at most.
        augmentation: siamese strategy, one parameter draw per class; empty for none.
        encoder: ``mid``: interpolated experts (PLTDA, Eq. 3); ``random``: a fresh random network
            each iteration (PLTDA off, as DM); ``fixed_random``: one random network for the whole
            run (PLTDA off, as released).
        calibration: distribution calibration (Eq. 5) on or off.
        calibration_interval: I_c of Algorithm 1, in iterations.
        calibration_mean: cross-entropy averaged over each ``class`` (released) or over the whole
            ``set`` (Eq. 5).
    """

    iterations: int = 10_000
    learning_rate: float = 0.01
    momentum: float = 0.5
    steps: Literal["per_class", "joint"] = "per_class"
    real_batch: int = 128
    synthetic_cap: int = 200
    augmentation: str = "color_crop_cutout"
    encoder: Literal["mid", "random", "fixed_random"] = "mid"
    calibration: bool = True
    calibration_interval: int = 1
    calibration_mean: Literal["class", "set"] = "class"


@dataclass(frozen=True)
class Part:
    """The synthetic images of a chunk of classes in one iteration.

    Attributes:
        classes: labels of the chunk.
        canvases: their rows in the state's tensors.
        pixels: (c*ipc,C,S,S) the chunk's canvases, a leaf with gradient.
        images: (n,C,S,S) decoded and standardised, class after class.
        labels: (n,) class of each image; row of its augmentation parameters too.
        sizes: images of each class of the chunk.
    """

    classes: range
    canvases: slice
    pixels: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor
    sizes: list[int]


@METHODS.register("dance")
class Dance(Condenser):
    """DANCE; see the module's text."""

    title = "DANCE"
    paper = "Zhang et al., IJCAI 2024"
    Config = DanceConfig
    config: DanceConfig

    @property
    def iterations(self) -> int:
        """I of Algorithm 1."""
        return self.config.iterations

    def needs_experts(self) -> bool:
        """Experts make the mid encoders and the calibration."""
        return self.config.encoder == "mid" or self.config.calibration

    def setup(self, problem: Problem) -> Tensors:
        """Canvases and their momentum.

        Raises:
            MissingExpertsError: the problem holds no experts and these settings need them.
        """
        if self.needs_experts() and not problem.experts:
            raise MissingExpertsError(
                "DANCE with mid encoders or calibration needs at least one expert: got none; train "
                "some (dance experts DATA) or set encoder random and calibration false"
            )
        self._sampler = ClassSampler(problem.train, self.config.real_batch, problem.seed)
        return {"pixels": problem.initial.clone(), "velocity": torch.zeros_like(problem.initial)}

    def step(self, problem: Problem, state: Tensors, iteration: int) -> Tensors:
        """One iteration of Algorithm 1."""
        expert, encoder = self._encoders(problem, iteration)
        state["pixels"].clamp_(0, 1)
        alignment = self._descend(problem, state, iteration, "alignment", encoder)
        losses = {"alignment": alignment}
        if self.config.calibration and iteration % self.config.calibration_interval == 0:
            losses["calibration"] = self._descend(problem, state, iteration, "calibration", expert)
        return losses

    def _encoders(self, problem: Problem, iteration: int) -> tuple[State, State]:
        """The drawn expert and the encoder for matching (Eq. 3)."""
        draws = generator(problem.seed, "encoder", iteration)
        expert: State = {}
        if problem.experts:
            number = int(torch.randint(len(problem.experts), (), generator=draws))
            initial, expert = problem.experts[number]
        if self.config.encoder == "mid":
            return expert, interpolate(initial, expert, float(torch.rand((), generator=draws)))
        if self.config.encoder == "fixed_random":
            draws = generator(problem.seed, "fixed encoder")
        fresh = problem.network.initial(draws)
        return expert, {name: tensor.to(problem.initial) for name, tensor in fresh.items()}

    def _descend(
        self, problem: Problem, state: Tensors, iteration: int, view: str, encoder: State
    ) -> torch.Tensor:
        """One gradient step of all classes on the loss of a view; returns its mean over classes."""
        classes, config = problem.train.num_classes, self.config
        rate = config.learning_rate * problem.ipc
        per_class = config.steps == "per_class"
        optimiser = ClassSGD(
            state["pixels"], state["velocity"], classes if per_class else 1, rate, config.momentum
        )
        draws = generator(problem.seed, view, iteration)
        augment = siamese.draw(config.augmentation, classes, problem.train.side, draws)
        augment = augment.to(problem.device)
        optimiser.before()
        whole = view == "calibration" and config.calibration_mean == "set"
        share = 1 / classes if whole else 1.0
        gradient = torch.empty_like(state["pixels"])
        total = torch.zeros((), dtype=gradient.dtype, device=problem.device)
        for part in self._parts(problem, state["pixels"], draws):
            images = siamese.apply(part.images, augment.take(part.labels))
            with torch.autocast(problem.device.type, torch.bfloat16, enabled=problem.bfloat16):
                if view == "alignment":
                    loss = self._alignment(problem, encoder, part, images, augment, iteration)
                else:
                    loss = self._calibration(problem, encoder, part, images)
            (gradient[part.canvases],) = torch.autograd.grad(loss.sum() * share, part.pixels)
            total += loss.detach().sum()
        optimiser.step(gradient)
        optimiser.after()
        return total / classes

    def _alignment(
        self,
        problem: Problem,
        encoder: State,
        part: Part,
        images: torch.Tensor,
        augment: siamese.Draw,
        iteration: int,
    ) -> torch.Tensor:
        """Eq. 4, a number for each class of the chunk."""
        rows = [self._sampler.rows(label, iteration) for label in part.classes]
        counts = torch.tensor([len(r) for r in rows])
        owners = torch.tensor(part.classes).repeat_interleave(counts)
        real = self._real_features(problem, encoder, torch.cat(rows), owners, augment)
        real_means = class_means(real, counts.tolist())
        synthetic = problem.network.embed(encoder, _channels_last(images)).to(images.dtype)
        return mean_distance(real_means, class_means(synthetic, part.sizes))

    def _real_features(
        self,
        problem: Problem,
        encoder: State,
        rows: torch.Tensor,
        owners: torch.Tensor,
        augment: siamese.Draw,
    ) -> torch.Tensor:
        """Embeddings (n,D) of real images under the augmentation of their class."""
        train, device, dtype = problem.train, problem.device, problem.initial.dtype
        rows, owners = rows.to(train.images.device), owners.to(device)
        size = _REAL_BATCH[device.type]
        found = []
        with torch.no_grad():
            for some, their in zip(rows.split(size), owners.split(size), strict=True):
                images = standardise(train.images[some].to(device), train.mean, train.std, dtype)
                images = siamese.apply(images, augment.take(their))
                found.append(problem.network.embed(encoder, _channels_last(images)).to(dtype))
        return torch.cat(found)

    def _calibration(
        self, problem: Problem, expert: State, part: Part, images: torch.Tensor
    ) -> torch.Tensor:
        """Eq. 5, a number for each class of the chunk."""
        logits = problem.network.logits(expert, _channels_last(images)).to(images.dtype)
        return class_cross_entropy(logits, part.labels, part.sizes)

    def _parts(
        self, problem: Problem, pixels: torch.Tensor, draws: torch.Generator
    ) -> Iterator[Part]:
        """Chunks of classes, decoded and standardised; the draws are made for all classes first."""
        classes, train = problem.train.num_classes, problem.train
        each = problem.ipc * problem.factor**2
        kept = min(each, self.config.synthetic_cap)
        subsets = None
        if kept < each:
            subsets = torch.rand(classes, each, generator=draws).argsort(1)[:, :kept]
        mean = torch.tensor(train.mean, dtype=pixels.dtype, device=pixels.device).view(-1, 1, 1)
        std = torch.tensor(train.std, dtype=pixels.dtype, device=pixels.device).view(-1, 1, 1)
        for first in range(0, classes, problem.chunk):
            last = min(first + problem.chunk, classes)
            canvases = slice(first * problem.ipc, last * problem.ipc)
            leaf = pixels[canvases].detach().clone().requires_grad_()
            images = decode(leaf, problem.factor)
            labels = torch.arange(first, last, device=problem.device).repeat_interleave(kept)
            if subsets is not None:
                chosen = subsets[first:last] + torch.arange(last - first)[:, None] * each
                images = images[chosen.flatten().to(problem.device)]
            standard = (images - mean) / std
            yield Part(
                range(first, last), canvases, leaf, standard, labels, [kept] * (last - first)
            )


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    """The layout in which convolution and pooling are fastest, on the CPU and on tensor cores."""
    return images.contiguous(memory_format=torch.channels_last)
