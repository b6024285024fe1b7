"""DC, DSA, IDC and DREAM in float64 as their released forms run, loop by loop.

Written from the descriptions of the algorithms: distances are functions of a graph that keeps the
gradients, and automatic differentiation goes through all of it; optimisers are ``torch.optim.SGD``;
classes take their turns on one tensor. Only the numbers of the keyed random draws are the
library's.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch.nn import functional

from dance.augment import cutmix, siamese, single
from dance.core.rng import key, keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods import CondensationTask
from dance.methods.dc import DCConfig
from dance.methods.dream import DREAMConfig
from dance.methods.idc import IDCConfig
from dance.methods.toolkit.clustering import representatives
from dance.networks import State
from unit.augment import by_hand
from unit.methods.literal import augment, decode

Batch = list[torch.Tensor]


def logits(state: State, x: torch.Tensor, *, training: bool) -> torch.Tensor:
    """A ConvNet; batch norm in training mode normalises by the batch and moves its averages."""
    for block in range(sum(name.endswith(".0.weight") for name in state)):
        names = f"blocks.{block}.1"
        x = functional.conv2d(
            x, state[f"blocks.{block}.0.weight"], state[f"blocks.{block}.0.bias"], padding=1
        )
        if f"{names}.running_mean" not in state:
            middle = x.mean(dim=(2, 3), keepdim=True)
            spread = ((x - middle) ** 2).mean(dim=(2, 3), keepdim=True)
        elif training:
            middle = x.mean(dim=(0, 2, 3), keepdim=True)
            spread = ((x - middle) ** 2).mean(dim=(0, 2, 3), keepdim=True)
            count = x.numel() // x.shape[1]
            with torch.no_grad():
                seen = {"mean": middle, "var": spread * count / (count - 1)}
                for kind, value in seen.items():
                    held = state[f"{names}.running_{kind}"]
                    held.copy_(0.9 * held + 0.1 * value.flatten())
        else:
            middle = state[f"{names}.running_mean"].view(-1, 1, 1)
            spread = state[f"{names}.running_var"].view(-1, 1, 1)
        x = (x - middle) / torch.sqrt(spread + 1e-5)
        x = x * state[f"{names}.weight"].view(-1, 1, 1) + state[f"{names}.bias"].view(-1, 1, 1)
        x = x.relu()
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    return x.flatten(1) @ state["classifier.weight"].T + state["classifier.bias"]


def embedded(state: State, x: torch.Tensor) -> torch.Tensor:
    """What the classifier eats: its logits under a classifier that copies."""
    size = state["classifier.weight"].shape[1]
    eye = torch.eye(size, dtype=x.dtype)
    copying = {"classifier.weight": eye, "classifier.bias": torch.zeros(size, dtype=x.dtype)}
    return logits({**state, **copying}, x, training=False)


def cross_entropy(found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (found.logsumexp(1) - found[torch.arange(len(found)), labels]).mean()


def trained(state: State) -> dict[str, torch.Tensor]:
    return {
        n: t
        for n, t in state.items()
        if "running" not in n and not n.endswith("num_batches_tracked")
    }


def fresh(task: CondensationTask, generator: torch.Generator) -> State:
    found = {n: t.double() for n, t in task.network.initial(generator).items()}
    for tensor in trained(found).values():
        tensor.requires_grad_()
    return found


def distance(kind: str, real: dict[str, torch.Tensor], synthetic: dict[str, torch.Tensor]):
    """Of gradients by name."""
    total = torch.zeros((), dtype=torch.float64)
    if kind == "rows":
        for name, a in real.items():
            if a.ndim < 2:
                continue
            for one, other in zip(a, synthetic[name], strict=True):
                norms = one.norm() * other.norm()
                total = total + 1 - (one * other).sum() / (norms + 0.000001)
        return total
    if kind in ("squared", "cosine"):
        a, b = (
            torch.cat([g.flatten() for g in gradients.values()]) for gradients in (real, synthetic)
        )
        if kind == "squared":
            return ((a - b) ** 2).sum()
        return 1 - (a @ b) / (a.norm() * b.norm() + 0.000001)
    for name, a in real.items():
        if a.ndim >= 3:
            difference = a - synthetic[name]
            total = total + (difference**2 if kind == "mse" else difference.abs()).sum()
    return total


def gradients(
    state: State, x: torch.Tensor, label: int, *, training: bool, graph: bool
) -> dict[str, torch.Tensor]:
    weights = trained(state)
    labels = torch.full((len(x),), label)
    loss = cross_entropy(logits(state, x, training=training), labels)
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=graph)
    return dict(zip(weights, found, strict=True))


def normalise(task: CondensationTask, unit: torch.Tensor) -> torch.Tensor:
    mean, std = (
        torch.tensor(part, dtype=torch.float64).view(-1, 1, 1)
        for part in (task.train.normalization.mean, task.train.normalization.std)
    )
    return (unit - mean) / std


def pictures(task: CondensationTask, rows: torch.Tensor) -> torch.Tensor:
    return normalise(task, task.train.images[rows].double() / 255)


@cache
def warp(matrix: tuple[tuple[float, ...], ...], resolution: int) -> torch.Tensor:
    """(side^2, side^2): resampling is linear, so its columns are what it makes of dots."""
    columns = []
    for place in range(resolution * resolution):
        dot = np.zeros((1, resolution, resolution))
        dot[0, place // resolution, place % resolution] = 1
        columns.append(by_hand.warp(dot, [list(row) for row in matrix]).reshape(-1))
    return torch.tensor(np.stack(columns, 1))


def one_operation(x: torch.Tensor, drawn: single.Draw, row: int) -> torch.Tensor:
    """The operation and parameters in a row of what was drawn, for a whole batch."""
    own = drawn.parameters[int(drawn.operation[row])]
    ((name, given),) = own.parameters.items()
    if name == "flip":
        return x.flip(-1) if bool(given[row]) else x
    if name in ("scale", "rotate"):
        matrix = tuple(tuple(line) for line in given[row].double().tolist())
        return (x.flatten(2) @ warp(matrix, x.shape[-1]).T).view(x.shape)
    return augment(x, own, row)


def condense_dc(
    task: CondensationTask, config: DCConfig, iterations: int, outer: int, inner: int
) -> tuple[torch.Tensor, list[float]]:
    """DC and DSA, in standardised space.

    Returns:
        The stored images, and the mean distance of each step.
    """
    train, ipc, classes = task.train, task.ipc, task.train.num_classes
    mean, std = (
        torch.tensor(part, dtype=torch.float64).view(-1, 1, 1)
        for part in (train.normalization.mean, train.normalization.std)
    )

    def decoded(stored_images: torch.Tensor) -> torch.Tensor:
        return (decode(stored_images * std + mean, task.decoder.factor) - mean) / std

    pixels = task.initial.clone().requires_grad_()
    images = torch.optim.SGD([pixels], lr=config.learning_rate, momentum=config.momentum)
    sampler = ClassSampler(train, config.real_batch, task.seed)
    losses: list[float] = []
    for iteration in range(iterations):
        number, step = divmod(iteration, outer)
        if step == 0:
            state = fresh(task, keyed_generator(task.seed, "network", number))
            network = torch.optim.SGD(
                list(trained(state).values()),
                lr=config.network_learning_rate,
                momentum=config.network_momentum,
            )
        if any("running" in name for name in state):
            other = ClassSampler(task.train, 16, key(task.seed, "batch norm"))
            rows = torch.cat([other.rows(c, iteration) for c in range(classes)])
            logits(state, pictures(task, rows), training=True)
        drawn = None
        if config.augmentation:
            generator = keyed_generator(task.seed, "augment", iteration)
            drawn = single.draw(config.augmentation, classes, train.resolution, generator)
        total = torch.zeros((), dtype=torch.float64)
        for c in range(classes):
            both = [pictures(task, sampler.rows(c, iteration)), decoded(pixels[c * ipc :][:ipc])]
            if drawn is not None:
                both = [one_operation(x, drawn, c) for x in both]
            real = gradients(state, both[0], c, training=False, graph=False)
            synthetic = gradients(state, both[1], c, training=False, graph=True)
            total = total + distance(config.distance, real, synthetic)
        images.zero_grad()
        total.backward()
        images.step()
        losses.append(float(total.detach()) / classes)
        if step == outer - 1:
            continue
        whole = decoded(pixels.detach())
        labels = torch.arange(classes).repeat_interleave(len(whole) // classes)
        number = 0
        for epoch in range(inner):
            generator = keyed_generator(task.seed, "inner order", iteration, epoch)
            order = torch.randperm(len(whole), generator=generator)
            for start in range(0, len(whole), config.network_batch):
                rows = order[start : start + config.network_batch]
                x = whole[rows]
                if config.augmentation:
                    generator = keyed_generator(task.seed, "inner augment", iteration, number)
                    resolution, strategy = train.resolution, config.augmentation
                    drawn = single.draw(strategy, len(rows), resolution, generator, shared=True)
                    x = torch.cat([one_operation(x[i : i + 1], drawn, i) for i in range(len(x))])
                number += 1
                network.zero_grad()
                cross_entropy(logits(state, x, training=True), labels[rows]).backward()
                network.step()
    return pixels.detach(), losses


def several(stored_images: torch.Tensor, config: IDCConfig, factor: int) -> torch.Tensor:
    """The stored images of a class under the decoders of IDC."""
    if config.decoding == "multi":
        return torch.cat([decode(stored_images, each) for each in range(1, factor + 1)])
    if config.decoding == "bound":
        found: Batch = []
        made, at = 0, 0
        for each in range(factor, 0, -1):
            left = len(stored_images) - at
            take = min((config.synthetic_cap - made - left) // each**2, left) if each > 1 else left
            take = max(0, take)
            if take:
                found.append(decode(stored_images[at : at + take], each))
            at, made = at + take, made + take * each**2
        return torch.cat(found)
    return decode(stored_images, factor)


def train_on_real(
    task: CondensationTask,
    config: IDCConfig,
    state: State,
    optimiser: torch.optim.SGD,
    purpose: str,
    step: int,
) -> None:
    """A step of the network, image by image."""
    train = task.train
    count = len(train.labels)
    per_pass = -(-count // config.network_batch)
    turn, place = divmod(step, per_pass)
    order = torch.randperm(count, generator=keyed_generator(task.seed, f"{purpose} order", turn))
    rows = order[place * config.network_batch :][: config.network_batch]
    generator = keyed_generator(task.seed, f"{purpose} batch", step)
    drawn = siamese.draw(config.network_augmentation, len(rows), train.resolution, generator)
    whole = pictures(task, rows)
    x = torch.cat([augment(whole[i : i + 1], drawn, i) for i in range(len(rows))])
    labels = train.labels[rows]
    mix = cutmix.draw_mix(len(rows), train.resolution, config.cutmix, generator)
    others, lam = labels, 1.0
    if mix is not None:
        top, bottom, left, right = mix.box
        mixed = x.clone()
        for i, partner in enumerate(mix.partner.tolist()):
            mixed[i, :, top:bottom, left:right] = x[partner, :, top:bottom, left:right]
        x, others = mixed, labels[mix.partner]
        lam = 1 - (bottom - top) * (right - left) / train.resolution**2
    found = logits(state, x, training=True)
    optimiser.zero_grad()
    (lam * cross_entropy(found, labels) + (1 - lam) * cross_entropy(found, others)).backward()
    optimiser.step()


def condense_idc(
    task: CondensationTask, config: IDCConfig, iterations: int, start: torch.Tensor | None = None
) -> tuple[torch.Tensor, list[float], int]:
    """IDC, and DREAM where the settings are its own.

    Returns:
        The stored images, the mean distance of each step, and how many pixels were clamped.
    """
    train, ipc, classes = task.train, task.ipc, task.train.num_classes
    pixels = (task.initial if start is None else start).clone().requires_grad_()
    rate = config.learning_rate * ipc * train.resolution**2 / config.reference_resolution**2
    images = torch.optim.SGD([pixels], lr=rate, momentum=config.momentum)
    sampler = ClassSampler(train, config.real_batch, task.seed)
    count = len(train.labels)
    per_pass = -(-count // config.network_batch)
    steps = min(-(-config.network_images // config.network_batch), per_pass)
    losses: list[float] = []
    clamped = 0
    chosen: dict[int, torch.Tensor] = {}
    for iteration in range(iterations):
        number, inner = divmod(iteration, config.network_steps)
        if inner == 0:
            state = fresh(task, keyed_generator(task.seed, "network", number))
            network = torch.optim.SGD(
                list(trained(state).values()),
                lr=config.network_learning_rate,
                momentum=config.network_momentum,
                weight_decay=config.network_weight_decay,
            )
            warm = config.warmup_epochs * per_pass
            for step in range(number * warm, (number + 1) * warm):
                train_on_real(task, config, state, network, "warm up", step)
            with torch.no_grad():
                clamped += int(((pixels < 0) | (pixels > 1)).sum())
                pixels.clamp_(0, 1)
        generator = keyed_generator(task.seed, "augment", iteration)
        drawn = siamese.draw(config.augmentation, classes, train.resolution, generator)
        total = 0.0
        for c in range(classes):
            rows = sampler.rows(c, iteration)
            if isinstance(config, DREAMConfig):
                if inner % config.clustering_interval == 0:
                    all_rows = train.rows(c)
                    with torch.no_grad():
                        found = embedded(state, train.images[all_rows].double() / 255)
                    generator = keyed_generator(task.seed, "clusters", iteration, c)
                    chosen[c] = all_rows[representatives(found, len(rows), generator)]
                rows = chosen[c]
            synthetic = several(pixels[c * ipc : (c + 1) * ipc], config, task.decoder.factor)
            if len(synthetic) > config.synthetic_cap:
                generator = keyed_generator(task.seed, "subset", iteration, c)
                kept = torch.randperm(len(synthetic), generator=generator)[: config.synthetic_cap]
                synthetic = synthetic[kept]
            both = torch.cat([pictures(task, rows), normalise(task, synthetic)])
            both = augment(both, drawn, c)
            own = {n: t.clone() if "running" in n else t for n, t in state.items()}
            real = gradients(own, both[: len(rows)].detach(), c, training=True, graph=False)
            fake = gradients(own, both[len(rows) :], c, training=True, graph=True)
            loss = distance(config.distance, real, fake)
            images.zero_grad()
            loss.backward(inputs=[pixels])
            images.step()
            total += float(loss.detach())
        losses.append(total / classes)
        for step in range(iteration * steps, (iteration + 1) * steps):
            train_on_real(task, config, state, network, "network", step)
    return pixels.detach(), losses, clamped
