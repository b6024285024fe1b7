"""DM against its equations written as a loop over classes in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dance.core.rng import keyed_generator
from dance.data import load
from dance.methods import CondensationTask
from dance.methods.dm import DM, DMConfig
from dance.networks import NetworkConfig
from unit.methods.literal_matching import LiteralSides, descended, fresh, layers
from unit.methods.tasks import image_set, task

NORMS = ["instance", "batch"]


def network(norm: str) -> NetworkConfig:
    return NetworkConfig(width=6, depth=2, norm=norm)  # type: ignore[arg-type]


def literal(
    given: CondensationTask, options: DMConfig, iterations: int, norm: str
) -> tuple[torch.Tensor, list[float]]:
    """Stored images and losses of the algorithm as it is written."""
    classes = given.train.num_classes
    batches = LiteralSides(
        given, options.real_batch, options.augmentation, chained=False, unit=False
    )
    pixels, optimiser = descended(given, options.learning_rate, options.momentum)
    logged = []
    for iteration in range(iterations):
        state = fresh(given, iteration)
        batches.draw(iteration)
        pairs = [batches.of(pixels, label) for label in range(classes)]
        if norm == "instance":
            found = [tuple(layers(state, x, norm)[1].mean(0) for x in pair) for pair in pairs]
        else:  # each side is normalised as a whole
            means = []
            for part in range(2):
                every = layers(state, torch.cat([pair[part] for pair in pairs]), norm)[1]
                sizes = [len(pair[part]) for pair in pairs]
                means.append([features.mean(0) for features in every.split(sizes)])
            found = list(zip(*means, strict=True))
        losses = [((real.detach() - synthetic) ** 2).sum() for real, synthetic in found]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        logged.append(float(torch.stack(losses).detach().mean()))
    return pixels.detach(), logged


def run(
    given: CondensationTask, iterations: int, **options: Any
) -> tuple[torch.Tensor, list[float]]:
    method = DM(DMConfig(**options))
    made = method.start(given)
    losses = [float(made.step(i)["matching"]) for i in range(iterations)]
    return made.state.pixels, losses


def check(
    given: CondensationTask, norm: str = "instance", iterations: int = 3, **options: Any
) -> None:
    expected, wanted = literal(given, DMConfig(**options), iterations, norm)
    assert bool(((expected - given.initial).flatten(1).abs().amax(1) > 1e-3).all())
    pixels, losses = run(given, iterations, **options)
    torch.testing.assert_close(pixels, expected, rtol=1e-9, atol=1e-10)
    assert losses == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("ipc", "factor"), [(1, 1), (3, 1), (2, 2)])
def test_published_dynamics(ipc: int, factor: int, norm: str) -> None:
    """Classes of 7, 12 and 4 images in batches of 5: one is smaller than a batch."""
    check(task(ipc, factor, network=network(norm)), norm, real_batch=5)


@pytest.mark.parametrize("norm", NORMS)
def test_real_digits(norm: str) -> None:
    check(task(2, 1, train=load("digits", "train"), network=network(norm)), norm, real_batch=40)


@pytest.mark.parametrize("name", ["color", "crop", "cutout", "flip", "scale", "rotate"])
def test_every_operation(name: str) -> None:
    check(task(1, 1), augmentation=name, iterations=2)


def test_without_augmentation_and_momentum_the_gradient_is_that_of_the_sum_over_classes() -> None:
    """(2/ipc) J^T (mu_S - mu_T): nothing is averaged over classes or features."""
    given = task(2, 1)
    pixels, _ = run(given, 1, augmentation="", real_batch=0, momentum=0.0)
    leaf = given.initial.clone().requires_grad_()
    mean, std = (
        torch.tensor(p, dtype=torch.float64).view(-1, 1, 1)
        for p in (given.train.normalization.mean, given.train.normalization.std)
    )
    state, total = fresh(given, 0), torch.zeros((), dtype=torch.float64)
    for label in range(3):
        real = (given.train.images[given.train.rows(label)].double() / 255 - mean) / std
        synthetic = leaf[2 * label : 2 * label + 2]
        means = [layers(state, x, "instance")[1].mean(0) for x in (real, synthetic)]
        total = total + ((means[0] - means[1]) ** 2).sum()
    total.backward()
    assert leaf.grad is not None
    torch.testing.assert_close(given.initial - pixels, leaf.grad, rtol=1e-9, atol=1e-12)


def test_a_network_lives_one_iteration_and_its_classifier_is_not_used() -> None:
    given = task(1, 1)
    still = {"learning_rate": 1e-30, "augmentation": "", "real_batch": 0}
    _, losses = run(given, 4, **still)
    assert len(set(losses)) == 4
    states = [given.network.initial(keyed_generator(given.seed, "network", i)) for i in range(2)]
    assert not torch.equal(states[0]["blocks.0.0.weight"], states[1]["blocks.0.0.weight"])


def test_batch_norm_couples_classes_and_instance_norm_does_not() -> None:
    """One class's stored images move another's; so one process condenses all, in one chunk."""
    for norm, coupled in (("instance", False), ("batch", True)):
        given = task(2, 1, network=network(norm), chunk=1)
        assert DM(DMConfig()).couples(given.network) is coupled
        initial = given.initial.clone()
        initial[:2] += 0.3  # the first class
        other, _ = run(replace(given, initial=initial), 1)
        pixels, _ = run(given, 1)
        assert torch.equal(other[2:], pixels[2:]) is not coupled


def test_processes_together_make_the_bytes_of_one() -> None:
    train = image_set((50, 70, 36, 49))
    given = task(2, 2, train=train, chunk=1, dtype=torch.float32)
    whole, losses = run(given, 3, real_batch=35)
    parts, sums = [], torch.zeros(3)
    for classes in (range(0, 1), range(1, 4)):
        rows = slice(2 * classes.start, 2 * classes.stop)
        own = replace(
            given, train=train.only(classes), initial=given.initial[rows], classes=classes
        )
        pixels, found = run(own, 3, real_batch=35)
        parts.append(pixels)
        sums += torch.tensor(found)
    assert torch.equal(torch.cat(parts), whole)
    torch.testing.assert_close(sums, torch.tensor(losses), rtol=1e-5, atol=0)


def test_stored_pictures_are_what_was_matched_where_the_factor_does_not_divide_the_side() -> None:
    """The padding of a stored image is grey in unit space, whatever space the image is in."""
    from dance.condensed import CondensedSet
    from dance.methods.toolkit.images import NetworkInput

    train = image_set((4, 4), resolution=7)
    given = task(1, 2, train=train, network=NetworkConfig(width=4, depth=1), dtype=torch.float32)
    stored = CondensedSet(
        given.initial,
        torch.arange(2),
        train.classes,
        train.normalization,
        given.decoder,
        "normalized",
    )
    found = NetworkInput(given, "normalized").synthetic(given.initial)
    torch.testing.assert_close(found, stored.images(), rtol=1e-5, atol=1e-5)


def test_defaults_are_the_published_settings() -> None:
    assert DMConfig() == DMConfig(
        iterations=20_000,
        learning_rate=1.0,
        momentum=0.5,
        real_batch=256,
        augmentation="color_crop_cutout_flip_scale_rotate",
    )
