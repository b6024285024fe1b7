"""Problems small enough for float64 loops, built without the engine."""

from __future__ import annotations

import torch

from dance.condensed.decoders import of_factor
from dance.data.imageset import ImageSet
from dance.data.normalization import Normalization
from dance.experts.trajectories import HeldTrajectories
from dance.methods import CondensationTask
from dance.networks import Network, NetworkConfig, State, build
from dance.networks.state_vector import parameter_layout


def image_set(
    sizes: tuple[int, ...] = (7, 12, 4), channels: int = 3, resolution: int = 8, seed: int = 0
) -> ImageSet:
    """Random pictures, every class around a level of its own; rows of the classes are mixed."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    noise = torch.randint(
        0, 160, (len(labels), channels, resolution, resolution), generator=generator
    )
    images = (noise + labels.view(-1, 1, 1, 1) * (95 // len(sizes))).to(torch.uint8)
    return ImageSet(
        images,
        labels,
        tuple(f"class {k}" for k in range(len(sizes))),
        Normalization((0.42, 0.45, 0.39)[:channels], (0.21, 0.25, 0.19)[:channels]),
        "tiny",
        "train",
        "0",
    )


def weights(network: Network, seed: int, dtype: torch.dtype) -> tuple[State, State]:
    """First and last weights of an expert; a trained one is far from its start."""
    generator = torch.Generator().manual_seed(seed)
    initial = network.initial(generator)
    final = {}
    for name, tensor in initial.items():
        step = 0.3 * torch.randn(tensor.shape, generator=generator)
        if not tensor.shape:  # the number of batches seen
            final[name] = tensor
        elif name.endswith("running_var"):
            final[name] = tensor * step.exp()
        else:
            final[name] = tensor + step
    return tuple({n: t.to(dtype) for n, t in state.items()} for state in (initial, final))  # type: ignore[return-value]


def trajectories(network: Network, count: int, epochs: int, dtype: torch.dtype) -> HeldTrajectories:
    """Made-up networks that move a little every epoch."""
    networks, layout = [], parameter_layout(network)
    for number in range(count):
        first, last = (layout.flatten(state) for state in weights(network, number, dtype))
        parts = torch.linspace(0, 0.2, epochs + 1, dtype=dtype)[:, None]
        networks.append(first + parts * (last - first))
    return HeldTrajectories(torch.stack(networks))


def task(
    ipc: int = 1,
    factor: int = 1,
    *,
    train: ImageSet | None = None,
    network: NetworkConfig | None = None,
    experts: int = 2,
    seed: int = 3,
    chunk: int = 2,
    dtype: torch.dtype = torch.float64,
) -> CondensationTask:
    """A problem whose stored images are noise that partly lies at the borders of [0,1]."""
    train = image_set() if train is None else train
    skeleton = build(
        network or NetworkConfig(width=6, depth=2),
        train.channels,
        train.resolution,
        train.num_classes,
    )
    shape = (train.num_classes * ipc, train.channels, train.resolution, train.resolution)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return CondensationTask(
        train=train,
        initial=(noise * 1.4 - 0.2).clamp(0, 1).to(dtype),
        ipc=ipc,
        decoder=of_factor(factor),
        network=skeleton.eval(),
        experts=tuple(weights(skeleton, 50 + number, dtype) for number in range(experts)),
        seed=seed,
        chunk=chunk,
        trajectories=trajectories(skeleton, 2, 12, dtype),
    )
