"""How many classes fit into memory at once.

What a step needs beside its state is linear in the images that are forwarded together. The bytes of
one image are measured, not assumed, since they depend on network, kernels and precision: one
forward of one image and one of two, and what autograd keeps of them for the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dance.core.errors import ConfigError
from dance.core.memory import amount
from dance.core.rng import keyed_generator
from dance.networks import Network

_WORK = 2
"""Largest maps of an image that live beside what is kept: one and its gradient, in work."""
_PICTURES = 4
"""Float copies of an image's pixels: decoded, standardised, augmented, in the network's layout."""


@dataclass(frozen=True)
class ImageCost:
    """Memory of one image in a forward pass of many, in bytes.

    Attributes:
        gradient: up to the gradient of the image's pixels.
        forward: without gradients.
    """

    gradient: int
    forward: int


def image_cost(
    network: Network,
    channels: int,
    resolution: int,
    device: torch.device,
    *,
    bfloat16: bool = False,
) -> ImageCost:
    """Measure one image.

    On a CPU this is within a factor of 1.5 (ConvNet with gradients) or 2.5 (others) of what the
    process then takes, scratch space and losses of the allocator included
    (tests/unit/engine/test_memory.py).

    Args:
        network: skeleton, in evaluation mode.
        channels: C of the image.
        resolution: H = W in pixels.
        device: where.
        bfloat16: arithmetic of the network.
    """
    fresh = network.initial(keyed_generator(0, "memory"))
    state = {name: tensor.to(device) for name, tensor in fresh.items()}
    weights = {tensor.untyped_storage().data_ptr() for tensor in state.values()}

    def kept(count: int) -> list[int]:
        """Bytes of each tensor that autograd keeps of some images."""
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        images = torch.zeros(
            count, channels, resolution, resolution, device=device, requires_grad=True
        )
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        ):
            found = network.embed(state, images.contiguous(memory_format=torch.channels_last))
        del found
        return list(sizes.values())

    one, two = kept(1), kept(2)
    gradient = (
        sum(two) - sum(one) + _WORK * max(two) // 2 + _PICTURES * 4 * channels * resolution**2
    )
    return ImageCost(gradient, gradient // 2)


def fitting(limit: int, beside: int, per_class: int, classes: int) -> int:
    """Classes that can be forwarded together.

    Args:
        limit: bytes in all.
        beside: bytes that are needed however few classes there are.
        per_class: bytes of one class more.
        classes: no more than these.

    Raises:
        ConfigError: not even one class fits.
    """
    chunk = (limit - beside) // per_class
    if chunk < 1:
        raise ConfigError(
            f"memory must hold at least one class: a class takes {amount(per_class)} at once "
            f"beside {amount(beside)} for the rest, and there are {amount(limit)}; raise "
            "--memory-limit, use more processes, or take a smaller ipc, factor, network or size"
        )
    return max(1, min(classes, chunk))
