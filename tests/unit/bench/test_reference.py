"""The literal reference computes the same as the engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dance.bench import reference
from dance.bench.reference import Reference, ReferenceTrainer
from dance.core.errors import ConfigError
from dance.methods import CondensationTask
from dance.methods.dance import DANCE, DANCEConfig
from dance.networks import NetworkConfig, build
from dance.training import Trainer, TrainerConfig, TrainingData
from dance.training.trainer import predict
from unit.methods.tasks import image_set, task

FAST: dict[str, Any] = {"learning_rate": 0.3, "real_batch": 5}


def both(given: CondensationTask, count: int, **options: Any) -> tuple[torch.Tensor, ...]:
    """Stored images of the engine and of the reference after some steps, whose losses agree."""
    config = DANCEConfig(**options)
    method, loop = DANCE(config), Reference(given, config)
    made = method.start(given)
    for iteration in range(count):
        losses = {name: float(x) for name, x in made.step(iteration).items()}
        tolerance = 1e-9 if given.initial.dtype == torch.float64 else 1e-4
        assert loop.step(iteration) == pytest.approx(losses, rel=tolerance)
    return made.state.pixels, loop.pixels.detach()


@pytest.mark.parametrize("ipc", [1, 2])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_one_step_in_float32_is_the_engines(ipc: int, factor: int) -> None:
    given = task(ipc, factor, dtype=torch.float32)
    found, expected = both(given, 1, real_batch=5)
    assert (expected - given.initial).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"calibration_interval": 2},
        {"calibration_mean": "set"},
        {"encoder": "random"},
        {"encoder": "fixed_random", "calibration": False},
        {"steps": "joint", "calibration_mean": "set", "momentum": 0.0},
        {"synthetic_cap": 3},
        {"real_batch": 0, "augmentation": ""},
        {"augmentation": "color_crop_flip_scale_rotate_cutout"},
    ],
    ids=str,
)
def test_several_steps_in_float64_are_the_engines(options: dict[str, Any]) -> None:
    found, expected = both(task(2, 2), 4, **{**FAST, **options})
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_grey_images_that_the_network_pads() -> None:
    train = image_set((6, 9, 7), channels=1, resolution=10)
    given = task(1, 3, train=train, network=NetworkConfig(width=6, depth=2))
    found, expected = both(given, 2, **FAST)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_a_loop_over_some_classes_is_the_beginning_of_the_whole_loop() -> None:
    """Without calibration nothing comes after it, so these images are final but for drift."""
    given = task(2, 1)
    options = DANCEConfig(calibration=False, momentum=0.0, real_batch=5)
    whole, part = Reference(given, options), Reference(given, options)
    whole.step(0)
    part.step(0, classes=2)
    assert torch.equal(part.pixels[:4], whole.pixels[:4])
    assert torch.equal(part.pixels[4:], given.initial[4:])
    part.step(1, classes=0)


def test_the_parameters_of_its_networks_require_gradients_and_get_them() -> None:
    """That is the formulation which is measured."""
    loop = Reference(task(1, 1), DANCEConfig(real_batch=5))
    loop.step(0)
    for network in (loop._encoder.blocks, loop._expert):
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
@pytest.mark.parametrize("augmentation", ["color_crop", "color_crop_flip_scale_rotate"])
def test_training_steps_are_those_of_fit(cutmix: float, augmentation: str) -> None:
    """Six steps, so that each of the drawn geometries comes up."""
    train = image_set((9, 9, 9))
    data = TrainingData(train.images, train.labels, train.normalization)
    skeleton = build(NetworkConfig(width=6, depth=2), 3, 8, 3)
    config = TrainerConfig(epochs=3, cutmix=cutmix, augmentation=augmentation)
    state = skeleton.initial(torch.Generator().manual_seed(1))
    ours = Trainer(skeleton, [{n: t.clone() for n, t in state.items()}], data, config, [7])
    theirs = ReferenceTrainer(skeleton, state, data, config, 7)
    for number in range(6):
        rows = torch.arange(12) + number
        losses, _ = ours.step(rows[None], number)
        assert theirs.step(rows, number) == pytest.approx(float(losses[0]), rel=1e-4)
    for name, tensor in theirs.network.state_dict().items():
        torch.testing.assert_close(tensor, ours.state(0)[name], rtol=1e-4, atol=1e-5)
        assert not torch.equal(tensor, state[name])


def test_predictions_are_those_of_the_library() -> None:
    train = image_set((120, 130, 90))  # more than one batch
    skeleton = build(NetworkConfig(width=6, depth=2), 3, 8, 3)
    state = skeleton.initial(torch.Generator().manual_seed(1))
    data = TrainingData(train.images, train.labels, train.normalization)
    network = reference.plain_network(skeleton, torch.zeros(1))
    network.load_state_dict(state)
    found = reference.predict(network, reference.standardised(train, torch.float32))
    assert torch.equal(found, predict(skeleton, state, data))


@pytest.mark.parametrize(
    "config",
    [NetworkConfig(name="resnet10"), NetworkConfig(pooling=3), NetworkConfig(norm="group")],
)
def test_other_networks_are_refused(config: NetworkConfig) -> None:
    with pytest.raises(ConfigError, match="written for ConvNets with pooling 2: got"):
        reference.PlainConvNet(build(config, 3, 32, 10))
