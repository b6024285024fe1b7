"""IDM against its published loop, one class and one optimiser step after the other, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from dance.core.rng import keyed_generator
from dance.data import load
from dance.methods import CondensationTask
from dance.methods.idm import IDM, IDMConfig, IDMState
from dance.networks import NetworkConfig, State
from unit.methods.literal_matching import LiteralSides, descended, fresh, layers
from unit.methods.tasks import task

# The queue is full after a few steps, and meters begin anew on the way.
FAST: dict[str, Any] = {
    "real_batch": 5,
    "queue": 5,
    "push_interval": 2,
    "model_steps": 3,
    "model_batch": 9,
    "meter_interval": 4,
}


class InnerNetwork:
    """A network of the queue: its weights, its optimiser and its meter."""

    def __init__(self, given: CondensationTask, number: int, options: IDMConfig, norm: str) -> None:
        self.number, self._norm = number, norm
        self.state = fresh(given, number)
        names = given.network.parameter_names()
        self._parameters = [t.requires_grad_() for n, t in self.state.items() if n in names]
        self._optimiser = torch.optim.SGD(
            self._parameters,
            lr=options.model_learning_rate,
            momentum=options.model_momentum,
            weight_decay=options.model_weight_decay,
        )
        self.hits = self.seen = 0

    def frozen(self) -> State:
        return {name: tensor.detach().clone() for name, tensor in self.state.items()}

    def train(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        if self._norm == "batch":
            self._count(images)
        found = logits(self.state, layers(self.state, images, self._norm)[1])
        self._optimiser.zero_grad()
        functional.cross_entropy(found, labels).backward()
        self._optimiser.step()
        self.hits += int((found.argmax(1) == labels).sum())
        self.seen += len(labels)

    def _count(self, images: torch.Tensor) -> None:
        """Running statistics of batch norm, momentum 0.1, with the unbiased variance."""
        x = images
        with torch.no_grad():
            for block in range(2):
                name = f"blocks.{block}"
                weight, bias = self.state[f"{name}.0.weight"], self.state[f"{name}.0.bias"]
                maps = functional.conv2d(x, weight, bias, padding=1)
                for part, now in (
                    ("mean", maps.mean((0, 2, 3))),
                    ("var", maps.var((0, 2, 3), unbiased=True)),
                ):
                    held = self.state[f"{name}.1.running_{part}"]
                    held.copy_(0.9 * held + 0.1 * now)
                one = {
                    f"blocks.0.{key.split('.', 2)[2]}": tensor
                    for key, tensor in self.state.items()
                    if key.startswith(f"{name}.")
                }
                resolution = x.shape[-1] // 2
                x = layers(one, x, "batch")[1].view(len(x), -1, resolution, resolution)


def logits(state: State, embedding: torch.Tensor) -> torch.Tensor:
    return embedding @ state["classifier.weight"].T + state["classifier.bias"]


def literal(
    given: CondensationTask, options: IDMConfig, iterations: int, norm: str
) -> tuple[torch.Tensor, list[dict[str, float]], set[float]]:
    """Stored images, mean losses by step, and the accuracies in percent that weighed."""
    train, classes = given.train, given.train.num_classes
    mean, std = (
        torch.tensor(p, dtype=torch.float64).view(-1, 1, 1)
        for p in (train.normalization.mean, train.normalization.std)
    )
    batches = LiteralSides(
        given, options.real_batch, options.augmentation, chained=False, unit=False
    )
    pixels, optimiser = descended(given, options.learning_rate, options.momentum)
    queue = [InnerNetwork(given, number, options, norm) for number in range(3)]
    logged, percents = [], set()
    for t in range(iterations):
        if t % options.meter_interval == 0:
            for trainee in queue:
                trainee.hits = trainee.seen = 0
        if t % options.push_interval == 0:
            if len(queue) == options.queue:
                queue.pop(0)
            queue.append(InnerNetwork(given, queue[-1].number + 1, options, norm))
        # The library's draws count rows: number i is in row i modulo the longest queue.
        rows = {trainee.number % options.queue: trainee for trainee in queue}
        generator = keyed_generator(given.seed, "matched network", t)
        picked = rows[int(torch.randint(len(queue), (), generator=generator))]
        state = picked.frozen()
        percent = 100 * picked.hits / picked.seen if picked.seen else 0.0
        percents.add(percent)
        batches.draw(t)
        sums = {"matching": 0.0, "cross_entropy": 0.0}
        for label in range(classes):
            real, synthetic = (
                layers(state, x, norm, training=False)[1] for x in batches.of(pixels, label)
            )
            matching = ((real.mean(0).detach() - synthetic.mean(0)) ** 2).sum()
            found = logits(state, synthetic)
            cross_entropy = (found.logsumexp(1) - found[:, label]).mean()
            optimiser.zero_grad()
            (matching + options.ce_weight * percent * cross_entropy).backward()
            optimiser.step()
            sums["matching"] += float(matching.detach()) / classes
            sums["cross_entropy"] += float(cross_entropy.detach()) / classes
        logged.append(sums)
        generator = keyed_generator(given.seed, "queue", t)
        for place in torch.randperm(len(queue), generator=generator)[: options.fetch].tolist():
            for _ in range(options.model_steps):
                some = torch.randperm(len(train.labels), generator=generator)[: options.model_batch]
                images = (train.images[some].double() / 255 - mean) / std
                rows[place].train(images, train.labels[some])
    return pixels.detach(), logged, percents


def run(
    given: CondensationTask, iterations: int, **options: Any
) -> tuple[IDMState, list[dict[str, float]]]:
    method = IDM(IDMConfig(**options))
    made = method.start(given)
    losses = [made.step(i) for i in range(iterations)]
    return made.state, [{name: float(x) for name, x in row.items()} for row in losses]


def check(
    given: CondensationTask, norm: str = "instance", iterations: int = 10, **options: Any
) -> None:
    expected, wanted, percents = literal(given, IDMConfig(**options), iterations, norm)
    assert bool(((expected - given.initial).flatten(1).abs().amax(1) > 1e-3).all())
    assert len(percents) > 1  # else the weight would not be tested
    state, losses = run(given, iterations, **options)
    torch.testing.assert_close(state.pixels, expected, rtol=1e-9, atol=1e-10)
    for found, row in zip(losses, wanted, strict=True):
        assert found == pytest.approx(row, rel=1e-9)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("ipc", [1, 2])
def test_published_dynamics(ipc: int, factor: int) -> None:
    """Every class takes its own step with momentum; all of it in one closed step here."""
    check(task(ipc, factor), **FAST)


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"queue": 3, "push_interval": 1},
        {"fetch": 9},
        {"ce_weight": 0.0},
        {"model_momentum": 0.0, "model_weight_decay": 0.0},
        {"real_batch": 0},
    ],
    ids=str,
)
def test_options(options: dict[str, Any]) -> None:
    check(task(1, 2), iterations=6, **{**FAST, **options})


def test_batch_norm_matches_in_evaluation_mode_and_trains_its_statistics() -> None:
    network = NetworkConfig(width=6, depth=2, norm="batch")
    check(task(1, 2, network=network), "batch", 6, **FAST)


def test_real_digits() -> None:
    given = task(1, 2, train=load("digits", "train"))
    check(given, iterations=3, **{**FAST, "real_batch": 20, "model_batch": 64})


def test_the_queue_drops_its_oldest_and_never_grows() -> None:
    given = task(1, 1)
    untrained = {**FAST, "model_steps": 1, "model_learning_rate": 1e-30, "fetch": 1}
    state, _ = run(given, 9, **untrained)  # numbers 0, 1, 2 and five pushed: 3 to 7
    assert state.networks.shape[0] == 5
    rows = {number % 5: number for number in range(8)}
    for place, number in rows.items():
        wanted = fresh(given, number)["blocks.0.0.weight"].flatten()
        torch.testing.assert_close(state.networks[place][: len(wanted)], wanted)


def test_the_accuracy_weighs_in_percent() -> None:
    """One network of known accuracy: the pixels move by the weight times its cross-entropy."""
    given = task(1, 1)
    moved = {}
    for weight in (0.0, 0.5, 1.0):
        method = IDM(IDMConfig(**{**FAST, "queue": 1, "momentum": 0.0, "ce_weight": weight}))
        made = method.start(given)
        made.step(0)
        made.state.pixels.copy_(given.initial)
        made.state.hits[0], made.state.seen[0] = 3, 4
        made.step(1)
        moved[weight] = made.state.pixels - given.initial
    torch.testing.assert_close(
        moved[1.0] - moved[0.5], moved[0.5] - moved[0.0], rtol=1e-9, atol=1e-12
    )


def test_meters_count_what_is_recognised_while_training() -> None:
    given = task(1, 1)
    state, _ = run(given, 3, **{**FAST, "meter_interval": 100})
    assert int(state.seen.sum()) == 3 * 2 * 3 * 9  # steps, fetched, steps of each, batch
    assert 0 < int(state.hits.sum()) < int(state.seen.sum())
    again, _ = run(given, 5, **FAST)  # counted anew at step 4
    assert int(again.seen.sum()) == 2 * 3 * 9


def test_one_process_condenses_all_classes() -> None:
    """The queue learns from all real images, which others do not have."""
    given = task(1, 1)
    assert IDM(IDMConfig()).couples(given.network)
    made = IDM(IDMConfig(**FAST)).start(given)
    assert set(made.state.tensors()) == {"pixels", "velocity", *made.state.shared()}


def test_seeds_give_other_networks() -> None:
    given = task(1, 1)
    one, other = (
        IDM(IDMConfig(**FAST)).start(replace(given, seed=seed)).state.networks for seed in (0, 1)
    )
    assert not torch.equal(one, other)


def test_defaults_are_those_of_cifar10_with_ten_images_per_class() -> None:
    assert IDMConfig() == IDMConfig(
        iterations=20_000,
        learning_rate=0.2,
        momentum=0.5,
        real_batch=256,
        ce_weight=0.5,
        queue=100,
        push_interval=30,
        fetch=2,
        model_steps=10,
        model_batch=256,
        model_learning_rate=0.01,
        model_momentum=0.9,
        model_weight_decay=5e-4,
        meter_interval=100,
    )
