"""Initial weights: PyTorch's (ResNet: He's) distributions, drawn from the given generator alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dance.core.rng import keyed_generator
from dance.networks import NETWORKS, NetworkConfig, State, build


def drawn(name: str, norm: str = "batch", seed: int = 0) -> State:
    network = build(NetworkConfig(name=name, norm=norm, layout="cifar"), 3, 32, 10)
    return network.initial(keyed_generator(seed, "weights"))


@pytest.mark.parametrize("name", NETWORKS.names())
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_every_tensor_has_its_distribution(name, norm) -> None:
    network = build(NetworkConfig(name=name, norm=norm, layout="cifar"), 3, 32, 10)
    state = network.initial(keyed_generator(0, "weights"))
    for prefix, module in network.named_modules():
        for own, skeleton in module.named_parameters(recurse=False):
            tensor = state[f"{prefix}.{own}"]
            assert tensor.shape == skeleton.shape and tensor.dtype == torch.float32
            if isinstance(module, nn.GroupNorm | nn.BatchNorm2d):
                assert torch.all(tensor == (1.0 if own == "weight" else 0.0))
            elif isinstance(module, nn.Conv2d) and name.startswith("resnet"):
                outputs, resolution = module.out_channels, module.kernel_size[0]
                _has_moments(tensor, math.sqrt(2 / (resolution * resolution * outputs)))
                assert tensor.abs().max() > 2.5 * tensor.std(), "normal, not uniform"
            else:
                fan_in = module.weight[0].numel()
                bound = 1 / math.sqrt(fan_in)
                assert tensor.abs().max() <= bound
                _has_moments(tensor, bound / math.sqrt(3))
                if tensor.numel() > 1000:
                    assert tensor.abs().max() > 0.98 * bound


def _has_moments(tensor: torch.Tensor, deviation: float) -> None:
    """Mean 0 and this standard deviation, within five standard errors."""
    count = tensor.numel()
    assert abs(tensor.mean()) < 5 * deviation / math.sqrt(count)
    assert tensor.square().mean().sqrt() == pytest.approx(deviation, rel=5 / math.sqrt(count))


def test_values_are_pytorch_s_own_where_the_networks_are_pytorch_s_own() -> None:
    """The same draws in the same order as nn.Conv2d and nn.Linear make them from that state."""
    state = drawn("convnet", "instance")
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(keyed_generator(0, "weights").get_state())
        expected: list[torch.Tensor] = []
        for inputs in (3, 128, 128):
            conv, norm = nn.Conv2d(inputs, 128, 3, padding=1), nn.GroupNorm(128, 128)
            expected += [*conv.parameters(), *norm.parameters()]
        expected += nn.Linear(2048, 10).parameters()
    for (name, tensor), other in zip(state.items(), expected, strict=True):
        torch.testing.assert_close(tensor, other.detach(), rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_a_state_is_a_function_of_the_key_alone(name) -> None:
    global_before = torch.random.get_rng_state()
    first, again, other = drawn(name), drawn(name), drawn(name, seed=1)
    assert torch.equal(global_before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    convolutions = [key for key in first if first[key].ndim == 4]
    assert not any(torch.equal(first[key], other[key]) for key in convolutions)
    flat = [first[key].flatten()[:16] for key in convolutions if first[key].numel() >= 16]
    assert len({tuple(numbers.tolist()) for numbers in flat}) == len(flat), "repeated draws"


@pytest.mark.parametrize("name", NETWORKS.names())
def test_a_state_is_in_module_order(name) -> None:
    network = build(NetworkConfig(name=name, norm="batch", layout="cifar"), 3, 32, 10)
    state = network.initial(keyed_generator(0, "weights"))
    parameters = [key for key, _ in network.named_parameters()]
    buffers = [key for key, _ in network.named_buffers()]
    assert list(state) == parameters + buffers
    assert network.parameter_names() == set(parameters)
    assert set(state) == set(network.state_dict())


def test_buffers_are_those_of_an_untrained_batch_norm() -> None:
    state = drawn("resnet10")
    fresh = nn.BatchNorm2d(32).state_dict()
    for own in ("running_mean", "running_var", "num_batches_tracked"):
        held = state[f"stem.1.{own}"]
        assert held.dtype == fresh[own].dtype
        assert torch.equal(held, fresh[own])
    assert not [key for key in drawn("convnet", "instance") if "running" in key]
