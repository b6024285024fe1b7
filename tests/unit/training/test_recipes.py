"""What later protocols need of Fit: other schedules, AdamW, one operation, soft targets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from dance.augment import single
from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator
from dance.training import Trainer, TrainerConfig, TrainingData
from dance.training.trainer import probabilities
from unit.training.blobs import blobs, start, tiny, training
from unit.training.test_trainer import assert_same, pixels_to_input, quiet_replica

DC = TrainerConfig(
    epochs=7, batch_size=8, learning_rate=0.1, gamma=0.1, cutmix=0.0, augmentation_mode="none",
    milestones=("1/2+2",), reset_momentum=True,
)  # fmt: skip
"""The schedule of gradient matching's evaluation, short: the rate falls at epoch 5."""
ADAM = replace(
    DC, optimiser="adamw", learning_rate=0.003, weight_decay=0.1, gamma=0.5,
    milestones=("1/5", "4/5"), reset_momentum=False,
)  # fmt: skip
SOFT = TrainerConfig(epochs=2, batch_size=8, learning_rate=0.05, cutmix=1.0)


@pytest.mark.parametrize("reset_momentum", [True, False])
def test_the_momentum_is_lost_where_the_rate_falls(reset_momentum) -> None:
    """SGD written out in float64, with a buffer of its own, over all steps of seven epochs."""
    images, network = blobs(20), tiny()
    state = start(network)
    trainer = Trainer(
        network, [state], training(images), replace(DC, reset_momentum=reset_momentum), [7]
    )
    module = quiet_replica(state)
    inputs = pixels_to_input(images.images)
    velocity = [torch.zeros_like(p) for p in module.parameters()]
    for epoch in range(7):
        rate = 0.1 if epoch < 5 else 0.01
        if reset_momentum and epoch == 5:
            assert all(v.abs().max() > 0 for v in velocity)
            velocity = [torch.zeros_like(p) for p in module.parameters()]
        for rows in torch.randperm(20, generator=keyed_generator(7, "order", epoch)).split(8):
            loss = functional.cross_entropy(module(inputs[rows]), images.labels[rows])
            gradients = torch.autograd.grad(loss, list(module.parameters()))
            with torch.no_grad():
                for p, v, g in zip(module.parameters(), velocity, gradients, strict=True):
                    v.mul_(0.9).add_(g + 5e-4 * p)
                    p -= rate * v
        trainer.train_epoch()
        assert_same(trainer.state(0), module)


def test_losing_the_momentum_changes_the_result() -> None:
    """Or the test above could not fail."""
    network = tiny()
    trainers = [
        Trainer(
            network,
            [start(network)],
            training(blobs(20)),
            replace(DC, reset_momentum=reset_momentum),
            [7],
        )
        for reset_momentum in (True, False)
    ]
    for epoch in range(6):
        for trainer in trainers:
            trainer.train_epoch()
        one, two = (trainer.state(0)["classifier.weight"] for trainer in trainers)
        assert torch.equal(one, two) == (epoch < 5)
    assert (one - two).abs().max() > 1e-3


def test_adamw_is_torch_s() -> None:
    images, network = blobs(20), tiny()
    state = start(network)
    trainer = Trainer(network, [state], training(images), ADAM, [7])
    module = quiet_replica(state)
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.003, weight_decay=0.1)
    inputs = pixels_to_input(images.images)
    for epoch in range(ADAM.epochs):
        optimiser.param_groups[0]["lr"] = 0.003 * 0.5 ** ((epoch >= 1) + (epoch >= 5))
        for rows in torch.randperm(20, generator=keyed_generator(7, "order", epoch)).split(8):
            optimiser.zero_grad()
            functional.cross_entropy(module(inputs[rows]), images.labels[rows]).backward()
            optimiser.step()
        trainer.train_epoch()
    for (name, tensor), other in zip(trainer.state(0).items(), module.parameters(), strict=True):
        if (
            name != "blocks.0.0.bias"
        ):  # has no gradient but rounding before a norm, which Adam amplifies
            torch.testing.assert_close(tensor.double(), other, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("config", [DC, ADAM], ids=["reset", "adamw"])
@pytest.mark.parametrize("members", [1, 2])
def test_going_on_is_a_straight_run(config, members) -> None:
    """From a snapshot after any step, those around the drop too."""
    images, network = blobs(20), tiny()
    states = [start(network, seed) for seed in range(members)]

    def fresh() -> Trainer:
        return Trainer(network, states, training(images), config, list(range(members)))

    straight, snapshots = fresh(), []
    for _ in range(config.epochs):
        straight.train_epoch(lambda: snapshots.append(straight.state_dicts()))
    for snapshot in snapshots:
        resumed = fresh()
        resumed.load_state_dicts(snapshot)
        while resumed.epoch < config.epochs:
            resumed.train_epoch()
        for member in range(members):
            mine, theirs = resumed.state(member), straight.state(member)
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_members_of_adamw_together_are_as_each_alone() -> None:
    images, network = blobs(20), tiny()
    states = [start(network, seed) for seed in range(2)]
    together = Trainer(network, states, training(images), ADAM, [5, 6])
    alone = Trainer(network, states[1:], training(images), ADAM, [6])
    for trainer in (together, alone):
        trainer.train_epoch()
    for name, tensor in alone.state(0).items():
        if name != "blocks.0.0.bias":
            torch.testing.assert_close(tensor, together.state(1)[name], rtol=1e-3, atol=1e-5)


def test_one_operation_a_batch() -> None:
    """A batch shares the operation, its images have parameters of their own."""
    images, network = blobs(12), tiny()
    state = start(network)
    strategy = "color_crop_cutout_flip_scale_rotate"
    config = replace(DC, augmentation_mode="single", augmentation=strategy, batch_size=12)
    inputs, rows = pixels_to_input(images.images), torch.arange(12)
    seen = set()
    for step in range(12):
        trainer = Trainer(network, [state], training(images), config, [3])
        loss, _ = trainer.step(rows[None], step)
        drawn = single.draw(strategy, 12, 8, keyed_generator(3, "augment", step), shared=True)
        assert len(set(drawn.operation.tolist())) == 1
        seen.add(int(drawn.operation[0]))
        expected = functional.cross_entropy(
            quiet_replica(state)(single.apply(inputs, drawn)), images.labels
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert len(seen) > 3


def soft(images, seed: int = 0) -> TrainingData:
    generator = torch.randn(len(images.labels), 3, generator=torch.Generator().manual_seed(seed))
    data = training(images)
    return replace(data, targets=generator.softmax(1))


def test_a_mixed_image_learns_the_mixture_of_two_distributions() -> None:
    images, network = blobs(12), tiny()
    state, data = start(network), soft(images)
    config = replace(DC, cutmix=1.0, batch_size=12)
    inputs, rows = pixels_to_input(images.images), torch.arange(12)
    shares = []
    for step in range(4):
        trainer = Trainer(network, [state], data, config, [3])
        loss, hits = trainer.step(rows[None], step)
        generator = keyed_generator(3, "augment", step)
        _, beta = torch.rand(2, generator=generator).tolist()
        partner = torch.randperm(12, generator=generator)
        row, column = torch.randint(8, (2,), generator=generator).tolist()
        length = int(8 * math.sqrt(1 - beta))
        top, bottom = max(row - length // 2, 0), min(row + length // 2, 8)
        left, right = max(column - length // 2, 0), min(column + length // 2, 8)
        mixed = inputs.clone()
        mixed[:, :, top:bottom, left:right] = inputs[partner, :, top:bottom, left:right]
        shares.append(1 - (bottom - top) * (right - left) / 64)
        logits = quiet_replica(state)(mixed)
        target = shares[-1] * data.targets + (1 - shares[-1]) * data.targets[partner]
        expected = -(target * logits.log_softmax(1)).sum(1).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert hits.item() == (logits.argmax(1) == images.labels).sum()
    assert any(0 < share < 1 for share in shares)


def test_certain_targets_are_labels() -> None:
    images, network = blobs(20), tiny()
    certain = functional.one_hot(images.labels, 3).float()
    trainers = [
        Trainer(network, [start(network)], data, SOFT, [1])
        for data in (training(images), replace(training(images), targets=certain))
    ]
    losses = [trainer.train_epoch() for trainer in trainers]
    assert losses[0].loss == pytest.approx(losses[1].loss, rel=1e-5)
    assert losses[0].accuracy == losses[1].accuracy


def test_members_learn_soft_targets_as_each_alone() -> None:
    images, network = blobs(20), tiny()
    states = [start(network, seed) for seed in range(2)]
    together = Trainer(network, states, soft(images), SOFT, [5, 6]).train_epoch()
    for member in range(2):
        alone = Trainer(network, [states[member]], soft(images), SOFT, [5 + member]).train_epoch()
        assert together.loss[member] == pytest.approx(alone.loss[0], rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_probabilities(temperature) -> None:
    images, network = blobs(301), tiny()
    state = start(network)
    found = probabilities(network, state, training(images), temperature)
    expected = quiet_replica(state).eval()(pixels_to_input(images.images)) / temperature
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected.softmax(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", ["0.5", "2/0", "half", "", "-1/2", "1/2-3"])
def test_a_drop_must_be_a_share(bad) -> None:
    with pytest.raises(ConfigError, match="milestones must be fractions"):
        TrainerConfig(epochs=3, milestones=(bad,))


def test_one_operation_of_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="augmentation_mode must be none"):
        TrainerConfig(epochs=3, augmentation_mode="single", augmentation="")
