"""DANCE in float64 as its released form runs: one class after the other, one shared optimiser.

Written from the description of the algorithm, with its own augmentation, decoder, network, losses
and ``torch.optim.SGD``; only the numbers of the keyed random draws are taken from the library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from dance.augment import siamese
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods import CondensationTask
from dance.methods.dance import DANCEConfig
from dance.networks import State


@dataclass
class Trace:
    """What a run did."""

    pixels: torch.Tensor
    losses: list[dict[str, float]] = field(default_factory=list)
    clamped: int = 0
    experts: set[int] = field(default_factory=set)


def bilinear(source: int, target: int) -> torch.Tensor:
    """(target, source) weights of an enlargement with half-pixel centres."""
    rows = torch.zeros(target, source, dtype=torch.float64)
    for t in range(target):
        place = max((t + 0.5) * source / target - 0.5, 0.0)
        low = min(math.floor(place), source - 1)
        rows[t, low] += 1 - (place - low)
        rows[t, min(low + 1, source - 1)] += place - low
    return rows


def decode(stored_images: torch.Tensor, factor: int) -> torch.Tensor:
    """The decoded images of (n,C,S,S) stored images, image by image, each enlarged to S."""
    if factor == 1:
        return stored_images
    resolution = stored_images.shape[-1]
    missing = (factor - resolution % factor) % factor
    cell = math.ceil(resolution / factor)
    enlarge = bilinear(cell, resolution)
    found = []
    for stored_image in stored_images:
        padded = functional.pad(stored_image, (0, missing, 0, missing), value=0.5)
        for i in range(factor):
            for j in range(factor):
                crop = padded[:, i * cell : (i + 1) * cell, j * cell : (j + 1) * cell]
                found.append(enlarge @ crop @ enlarge.T)
    return torch.stack(found)


def augment(x: torch.Tensor, drawn: siamese.Draw, label: int) -> torch.Tensor:
    """One transformation of a whole batch: brightness, saturation, contrast, crop, cutout."""
    resolution, given = x.shape[-1], drawn.parameters
    if "color" in given:
        brightness, saturation, contrast = given["color"][label].double().tolist()
        x = x + brightness
        grey = x.mean(dim=1, keepdim=True)
        x = grey + (x - grey) * saturation
        level = x.mean(dim=(1, 2, 3), keepdim=True)
        x = level + (x - level) * contrast
    if "crop" in given:
        down, right = given["crop"][label].tolist()
        x = functional.pad(x, (resolution, resolution, resolution, resolution))
        x = x[
            :,
            :,
            resolution + down : 2 * resolution + down,
            resolution + right : 2 * resolution + right,
        ]
    if "cutout" in given:
        top, left = given["cutout"][label].tolist()
        hole = int(resolution * 0.5 + 0.5)
        mask = torch.ones(resolution, resolution, dtype=x.dtype)
        mask[max(top, 0) : top + hole, max(left, 0) : left + hole] = 0
        x = x * mask
    return x


def features(state: State, x: torch.Tensor, norm: str) -> torch.Tensor:
    """The last maps of a ConvNet, flat: convolution, norm, ReLU, 2x2 average per block."""
    for block in range(sum(name.endswith(".0.weight") for name in state)):
        weight, bias = state[f"blocks.{block}.0.weight"], state[f"blocks.{block}.0.bias"]
        x = functional.conv2d(x, weight, bias, padding=1)
        if norm == "instance":
            middle = x.mean(dim=(2, 3), keepdim=True)
            spread = x.var(dim=(2, 3), keepdim=True, unbiased=False)
        else:
            middle = state[f"blocks.{block}.1.running_mean"].view(-1, 1, 1)
            spread = state[f"blocks.{block}.1.running_var"].view(-1, 1, 1)
        x = (x - middle) / torch.sqrt(spread + 1e-5)
        scale, offset = state[f"blocks.{block}.1.weight"], state[f"blocks.{block}.1.bias"]
        x = (x * scale.view(-1, 1, 1) + offset.view(-1, 1, 1)).relu()
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    return x.flatten(1)


def condense(
    task: CondensationTask, options: DANCEConfig, iterations: int, norm: str = "instance"
) -> Trace:
    """Stored images after some iterations, and the losses on the way."""
    train, ipc, classes = task.train, task.ipc, task.train.num_classes
    mean = torch.tensor(train.normalization.mean, dtype=torch.float64).view(-1, 1, 1)
    std = torch.tensor(train.normalization.std, dtype=torch.float64).view(-1, 1, 1)
    sampler = ClassSampler(train, options.real_batch, task.seed)
    pixels = torch.nn.Parameter(task.initial.double().clone())
    optimiser = torch.optim.SGD([pixels], lr=options.learning_rate * ipc, momentum=options.momentum)
    trace = Trace(pixels.detach())

    for iteration in range(iterations):
        number = iteration
        if options.real_targets == "bank":
            turn = iteration // options.bank_draws
            order = keyed_generator(task.seed, "bank order", turn)
            shuffled = torch.randperm(options.bank_draws, generator=order).tolist()
            number = shuffled[iteration % options.bank_draws]
        generator = keyed_generator(task.seed, "encoder", number)
        if task.experts:
            which = int(torch.randint(len(task.experts), (), generator=generator))
            initial, expert = task.experts[which]
            trace.experts.add(which)
        if options.encoder == "mid":
            share = float(torch.rand((), generator=generator))
            encoder = {n: share * initial[n] + (1 - share) * expert[n] for n in expert}
        else:
            if options.encoder == "fixed_random":
                generator = keyed_generator(task.seed, "fixed encoder")
            encoder = {n: t.double() for n, t in task.network.initial(generator).items()}

        with torch.no_grad():
            trace.clamped += int(((pixels < 0) | (pixels > 1)).sum())
            pixels.clamp_(0, 1)

        views = ["alignment"]
        if options.calibration and (iteration + 1) % options.calibration_interval == 0:
            views.append("calibration")
        logged = {}
        for view in views:
            turn = number if view == "alignment" else iteration
            generator = keyed_generator(task.seed, view, turn)
            drawn = siamese.draw(options.augmentation, classes, train.resolution, generator)
            each = ipc * task.decoder.factor**2
            if view == "alignment" and options.real_targets == "bank":
                generator = keyed_generator(task.seed, "subset", iteration)
            chosen = None
            if each > options.synthetic_cap:
                order = torch.rand(classes, each, generator=generator).argsort(1)
                chosen = order[:, : options.synthetic_cap]

            losses = []
            for c in range(classes):
                synthetic = decode(pixels[c * ipc : (c + 1) * ipc], task.decoder.factor)
                if chosen is not None:
                    synthetic = synthetic[chosen[c]]
                synthetic = (synthetic - mean) / std
                if view == "alignment":
                    real = train.images[sampler.rows(c, number)].double() / 255
                    both = augment(torch.cat([(real - mean) / std, synthetic]), drawn, c)
                    found = features(encoder, both, norm)
                    difference = found[: len(real)].detach().mean(0) - found[len(real) :].mean(0)
                    loss = (difference**2).sum()
                else:
                    maps = features(expert, augment(synthetic, drawn, c), norm)
                    logits = maps @ expert["classifier.weight"].T + expert["classifier.bias"]
                    loss = (logits.logsumexp(1) - logits[:, c]).mean()
                    if options.calibration_mean == "set":
                        loss = loss / classes
                    loss = options.calibration_weight * loss
                losses.append(loss)
                if options.steps == "per_class":
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
            if options.steps == "joint":
                optimiser.zero_grad()
                torch.stack(losses).sum().backward()
                optimiser.step()
            mean_loss = torch.stack(losses).detach().mean()
            whole = view == "calibration" and options.calibration_mean == "set"
            weight = options.calibration_weight if view == "calibration" else 1.0
            logged[view] = float(mean_loss * classes if whole else mean_loss) / weight
        trace.losses.append(logged)

    trace.pixels = pixels.detach().clone()
    return trace
