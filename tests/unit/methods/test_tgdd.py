"""TGDD against its equations, one class after the other in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dance.augment import siamese
from dance.core.errors import MissingExpertsError
from dance.core.rng import keyed_generator
from dance.data import load
from dance.data.sampler import ClassSampler
from dance.experts.trajectories import HeldTrajectories
from dance.methods import CondensationTask
from dance.methods.tgdd import TGDD, TGDDConfig
from dance.networks import NetworkConfig, State
from unit.methods import literal
from unit.methods.literal_matching import layers
from unit.methods.tasks import image_set, task

SHORT: dict[str, Any] = {"real_batch": 5, "learning_rate": 0.03}


def snapshot(given: CondensationTask, number: int, epoch: int) -> State:
    """A network of a trajectory, cut out of its numbers by hand."""
    weights, state, start = given.trajectories.weights(number, epoch), {}, 0  # type: ignore[union-attr]
    for name, shape in [(n, p.shape) for n, p in given.network.named_parameters()]:
        state[name] = weights[start : start + shape.numel()].view(shape)
        start += shape.numel()
    assert start == len(weights)
    return state


def condense(
    given: CondensationTask, options: TGDDConfig, iterations: int, norm: str
) -> tuple[torch.Tensor, list[dict[str, float]], set[tuple[int, int, int]]]:
    """Stored images, losses, and the expert and two epochs of every iteration."""
    train, ipc, classes = given.train, given.ipc, given.train.num_classes
    mean = torch.tensor(train.normalization.mean, dtype=torch.float64).view(-1, 1, 1)
    std = torch.tensor(train.normalization.std, dtype=torch.float64).view(-1, 1, 1)
    sampler = ClassSampler(train, options.real_batch, given.seed)
    pixels = torch.nn.Parameter(given.initial.double().clone())
    rate = options.learning_rate * ipc
    optimiser = torch.optim.SGD([pixels], lr=rate, momentum=options.momentum)
    logged, drawn_networks = [], set()
    for iteration in range(iterations):
        generator = keyed_generator(given.seed, "encoder", iteration)
        last = options.expert_epochs or given.trajectories.epochs  # type: ignore[union-attr]
        number = int(torch.randint(2, (), generator=generator))
        first = int(torch.randint(0, last + 1, (), generator=generator))
        second = int(
            torch.randint(first, min(first + options.ahead, last) + 1, (), generator=generator)
        )
        drawn_networks.add((number, first, second))
        encoder, classifier = snapshot(given, number, first), snapshot(given, number, second)
        generator = keyed_generator(given.seed, "augment", iteration)
        drawn = siamese.draw(options.augmentation, classes, train.resolution, generator)
        each = ipc * given.decoder.factor**2
        generator = keyed_generator(given.seed, "subset", iteration)
        order = torch.rand(classes, each, generator=generator).argsort(1)[
            :, : options.synthetic_cap
        ]
        with torch.no_grad():
            pixels.clamp_(0, 1)

        def batches(c: int) -> tuple[torch.Tensor, torch.Tensor]:
            stored = train.images[sampler.rows(c, iteration)].double() / 255  # noqa: B023
            own = literal.decode(pixels[c * ipc : (c + 1) * ipc], given.decoder.factor)
            if each > options.synthetic_cap:  # noqa: B023
                own = own[order[c]]  # noqa: B023
            both = torch.cat([(stored - mean) / std, (own - mean) / std])
            both = literal.augment(both, drawn, c)  # noqa: B023
            return both[: len(stored)], both[len(stored) :]

        def losses(real: torch.Tensor, own: torch.Tensor, logits: torch.Tensor, c: int) -> Any:
            matching = ((real.detach().mean(0) - own.mean(0)) ** 2).sum()
            return matching, (logits.logsumexp(1) - logits[:, c]).mean()

        def scores(found: torch.Tensor) -> torch.Tensor:
            return found @ classifier["classifier.weight"].T + classifier["classifier.bias"]  # noqa: B023

        found = []
        if norm == "batch":  # each side as a whole, one moment for all classes
            pairs = [batches(c) for c in range(classes)]
            counts = [[len(pair[part]) for pair in pairs] for part in range(2)]
            whole = [torch.cat([pair[part] for pair in pairs]) for part in range(2)]
            real, own = (layers(encoder, x, norm)[1] for x in whole)
            other = scores(layers(classifier, whole[1], norm)[1])
            parts = (real.split(counts[0]), own.split(counts[1]), other.split(counts[1]))
            found = [losses(*part, c) for c, part in enumerate(zip(*parts, strict=True))]
        for c in range(classes):
            if norm == "instance":
                real, own = batches(c)
                other = scores(layers(classifier, own, norm)[1])
                found.append(
                    losses(layers(encoder, real, norm)[1], layers(encoder, own, norm)[1], other, c)
                )
                if options.steps == "per_class":
                    optimiser.zero_grad()
                    (found[c][0] + options.calibration_weight * found[c][1]).backward()
                    optimiser.step()
        if options.steps == "joint":
            optimiser.zero_grad()
            sum(m + options.calibration_weight * ce for m, ce in found).backward()  # type: ignore[union-attr]
            optimiser.step()
        columns = [torch.stack(column).detach().mean() for column in zip(*found, strict=True)]
        logged.append({"matching": float(columns[0]), "calibration": float(columns[1])})
    return pixels.detach(), logged, drawn_networks


def run(
    given: CondensationTask, iterations: int, **options: Any
) -> tuple[torch.Tensor, list[dict[str, float]]]:
    method = TGDD(TGDDConfig(**options))
    made, losses = method.start(given), []
    for iteration in range(iterations):
        found = made.step(iteration)
        losses.append({name: float(loss) for name, loss in found.items()})
    return made.state.pixels, losses


def check(
    given: CondensationTask, iterations: int = 3, norm: str = "instance", **changes: Any
) -> set[tuple[int, int, int]]:
    options = {**SHORT, **changes}
    expected, wanted, drawn = condense(given, TGDDConfig(**options), iterations, norm)
    pixels, losses = run(given, iterations, **options)
    torch.testing.assert_close(pixels, expected, rtol=1e-9, atol=1e-9)
    for found, own in zip(losses, wanted, strict=True):
        assert found == pytest.approx(own, rel=1e-9)
    assert bool(((expected - given.initial).abs().flatten(1).amax(1) > 1e-3).all())
    return drawn


@pytest.mark.parametrize(("ipc", "factor"), [(1, 1), (3, 1), (2, 2)])
def test_released_dynamics(ipc: int, factor: int) -> None:
    """Classes of 7, 12 and 4 images in batches of 5: one is smaller than a batch."""
    check(task(ipc, factor), calibration_weight=2.5)


def test_real_digits() -> None:
    check(task(1, 1, train=load("digits", "train")), 2, real_batch=12)


def test_joint_steps_and_fewer_synthetic_images() -> None:
    check(task(2, 2), steps="joint", synthetic_cap=3)


def test_batch_norm_normalises_each_side_as_a_whole() -> None:
    given = task(2, 1, network=NetworkConfig(width=6, depth=2, norm="batch"), chunk=1)
    assert TGDD(TGDDConfig()).couples(given.network)
    check(given, norm="batch", steps="joint")


def test_two_epochs_of_one_expert_the_later_near() -> None:
    """Of five snapshots: all first epochs, the last included, and never more than ahead."""
    drawn = check(task(1, 1), 40, ahead=2, real_batch=1, expert_epochs=4)
    assert {first for _, first, _ in drawn} == {0, 1, 2, 3, 4}
    assert {second - first for _, first, second in drawn} == {0, 1, 2}
    assert {number for number, _, _ in drawn} == {0, 1}
    short = check(task(1, 1), 12, expert_epochs=1, real_batch=1)
    assert {second for _, _, second in short} == {0, 1}


def test_without_calibration_nothing_is_classified() -> None:
    _, losses = run(task(1, 1), 2, calibration_weight=0.0, **SHORT)
    assert [set(row) for row in losses] == [{"matching"}] * 2


def test_processes_together_make_the_bytes_of_one() -> None:
    train = image_set((30, 40, 36, 29))
    given = task(2, 2, train=train, chunk=1, dtype=torch.float32)
    options = {**SHORT, "synthetic_cap": 5}
    whole, _ = run(given, 3, **options)
    parts = []
    for classes in (range(0, 1), range(1, 4)):
        rows = slice(2 * classes.start, 2 * classes.stop)
        own = replace(
            given, train=train.only(classes), initial=given.initial[rows], classes=classes
        )
        parts.append(run(own, 3, **options)[0])
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("held", [None, 2])
def test_missing_or_too_short_trajectories_are_refused(held: int | None) -> None:
    given = task(1, 1)
    snapshots = given.trajectories.snapshots[:, : (held or 0) + 1]  # type: ignore[union-attr]
    there = None if held is None else HeldTrajectories(snapshots)
    with pytest.raises(MissingExpertsError, match="trajectories of at least 3 epochs: got"):
        TGDD(TGDDConfig(expert_epochs=3)).start(replace(given, trajectories=there))


def test_defaults_are_those_of_the_released_code() -> None:
    assert TGDDConfig() == TGDDConfig(
        iterations=10_000,
        learning_rate=0.01,
        momentum=0.5,
        real_batch=128,
        synthetic_cap=200,
        calibration_weight=1.0,
        ahead=6,
    )
