"""DM, DataDAM, M3D and IDM in float64 as their equations say, one class after the other.

Own augmentation, network, losses and ``torch.optim.SGD``; only the numbers of the keyed random
draws, and the library's order of drawing them, are taken from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from dance.augment import siamese, single
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.methods import CondensationTask
from dance.networks import State
from unit.methods.literal import augment as chain
from unit.methods.literal import decode

Loss = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Of a class, from its augmented real and synthetic images."""


def warped(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Bilinear values where ``matrix`` sends the (x, y) of each pixel; 0 outside of the picture."""
    resolution = x.shape[-1]
    weights = torch.zeros(resolution * resolution, resolution * resolution, dtype=x.dtype)
    for place in range(resolution * resolution):
        i, j = divmod(place, resolution)
        across, down = matrix @ torch.tensor(
            [(2 * j + 1) / resolution - 1, (2 * i + 1) / resolution - 1], dtype=x.dtype
        )
        row, column = ((down + 1) * resolution - 1) / 2, ((across + 1) * resolution - 1) / 2
        top, left = math.floor(row), math.floor(column)
        for r in (top, top + 1):
            for c in (left, left + 1):
                if 0 <= r < resolution and 0 <= c < resolution:
                    share = (1 - abs(row - r)) * (1 - abs(column - c))
                    weights[place, r * resolution + c] += share
    return (x.flatten(2) @ weights.T).view(x.shape)


def one_operation(x: torch.Tensor, drawn: single.Draw, label: int) -> torch.Tensor:
    """The operation of a class on all its images."""
    own = drawn.parameters[int(drawn.operation[label])]
    ((name, given),) = own.parameters.items()
    if name == "flip":
        return x.flip(-1) if bool(given[label]) else x
    if name in ("scale", "rotate"):
        return warped(x, given[label].double())
    return chain(x, own, label)


def layers(
    state: State, x: torch.Tensor, norm: str, *, training: bool = True
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Outputs of every ReLU of a ConvNet, and its embedding."""
    maps = []
    for block in range(sum(name.endswith(".0.weight") for name in state)):
        name = f"blocks.{block}"
        x = functional.conv2d(x, state[f"{name}.0.weight"], state[f"{name}.0.bias"], padding=1)
        if norm == "batch" and not training:
            middle = state[f"{name}.1.running_mean"].view(-1, 1, 1)
            spread = state[f"{name}.1.running_var"].view(-1, 1, 1)
        else:
            over = (2, 3) if norm == "instance" else (0, 2, 3)
            middle = x.mean(dim=over, keepdim=True)
            spread = x.var(dim=over, keepdim=True, unbiased=False)
        x = (x - middle) / torch.sqrt(spread + 1e-5)
        scale, offset = state[f"{name}.1.weight"], state[f"{name}.1.bias"]
        x = (x * scale.view(-1, 1, 1) + offset.view(-1, 1, 1)).relu()
        maps.append(x)
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    return maps, x.flatten(1)


def fresh(task: CondensationTask, number: int) -> State:
    """Network number so and so in float64."""
    drawn = task.network.initial(keyed_generator(task.seed, "network", number))
    return {name: tensor.double() for name, tensor in drawn.items()}


class LiteralSides:
    """Real and synthetic images of every class, standardised and augmented alike.

    Args:
        task: in float64.
        batch: real images of each class.
        strategy: of the augmentation.
        chained: IDC's form of it; else one operation a class.
        unit: whether the stored images are pixels in [0,1]; else they are standardised.
    """

    def __init__(
        self, task: CondensationTask, batch: int, strategy: str, *, chained: bool, unit: bool
    ) -> None:
        self.task, self._strategy, self._chained, self._unit = task, strategy, chained, unit
        self._sampler = ClassSampler(task.train, batch, task.seed)
        self._mean, self._std = (
            torch.tensor(part, dtype=torch.float64).view(-1, 1, 1)
            for part in (task.train.normalization.mean, task.train.normalization.std)
        )

    def draw(self, iteration: int) -> None:
        """The augmentation of an iteration."""
        train, generator = (
            self.task.train,
            keyed_generator(self.task.seed, "augment", iteration),
        )
        draw = siamese.draw if self._chained else single.draw
        self._drawn = draw(self._strategy, train.num_classes, train.resolution, generator)
        self._iteration = iteration

    def of(self, pixels: torch.Tensor, label: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a class: real (n,C,S,S) and synthetic (m,C,S,S) images."""
        train, ipc = self.task.train, self.task.ipc
        stored = train.images[self._sampler.rows(label, self._iteration)].double() / 255
        synthetic = decode(pixels[label * ipc : (label + 1) * ipc], self.task.decoder.factor)
        if self._unit:
            synthetic = (synthetic - self._mean) / self._std
        change = chain if self._chained else one_operation
        real = (stored - self._mean) / self._std
        if train.normalization.whitening is not None:
            flat = stored.flatten(1) - train.normalization.whitening.mean
            real = (flat @ train.normalization.whitening.matrix.double()).view(stored.shape)
        return change(real, self._drawn, label), change(synthetic, self._drawn, label)


def descended(
    task: CondensationTask, learning_rate: float, momentum: float
) -> tuple[torch.nn.Parameter, torch.optim.SGD]:
    """Stored images that an optimiser holds."""
    pixels = torch.nn.Parameter(task.initial.double().clone())
    return pixels, torch.optim.SGD([pixels], lr=learning_rate, momentum=momentum)
