"""The operations that are counted are those that PyTorch counts, and those of the closed form."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dance.bench.arithmetic import forward_operations, step_arithmetic
from dance.bench.reference import Reference
from dance.methods.dance import DANCEConfig
from dance.networks import NetworkConfig, build
from unit.methods.tasks import image_set, task


def convnet(resolution: int, channels: int, width: int, depth: int) -> int:
    """Two operations for every multiplication of 3x3 convolutions of the same size, pooled by 2."""
    total, inputs = 0, channels
    for block in range(depth):
        total += 2 * (resolution // 2**block) ** 2 * width * inputs * 9
        inputs = width
    return total


def test_a_convnet_has_the_operations_of_the_closed_form() -> None:
    network = build(NetworkConfig(), 3, 32, 10)
    embedding, logits = forward_operations(network, 3, 32)
    assert embedding == convnet(32, 3, 128, 3)
    assert logits == embedding + 2 * 2048 * 10


def test_grey_images_are_counted_at_the_size_they_are_padded_to() -> None:
    network = build(NetworkConfig(width=6), 1, 28, 10)
    assert forward_operations(network, 1, 28)[0] == convnet(32, 1, 6, 3)


@pytest.mark.parametrize("calibration", [True, False])
@pytest.mark.parametrize(("ipc", "factor", "cap"), [(1, 1, 200), (2, 2, 200), (2, 2, 3)])
def test_a_step_has_the_operations_that_pytorch_counts(
    calibration: bool, ipc: int, factor: int, cap: int
) -> None:
    """In the reference with its weights frozen, so that nothing but what is needed is computed."""
    given = task(ipc, factor, train=image_set((7, 12, 4)))  # one class smaller than the batch
    options = DANCEConfig(real_batch=5, synthetic_cap=cap, calibration=calibration)
    loop = Reference(given, options)
    for network in (loop._encoder, loop._expert):
        network.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        loop.step(0)
    needed = step_arithmetic(given, options)
    assert needed.exact == counter.get_total_flops()
    assert needed.exact == needed.real + needed.synthetic
    assert (needed.calibration > 0) == calibration


def test_counting_draws_nothing_and_needs_no_memory() -> None:
    """The skeleton stays on the meta device."""
    network = build(NetworkConfig(), 3, 224, 1000)
    before = torch.get_rng_state()
    assert forward_operations(network, 3, 224)[0] > 1e9
    assert torch.equal(before, torch.get_rng_state())
