"""Training of classifiers by SGD, one network or several at once, as the field trains them.

A :class:`Fit` holds g networks (members) as stacked parameters. Each member has a seed of its own
for order, augmentation and CutMix, so its result does not depend, beyond rounding, on how many
members are trained beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.func import functional_call, vmap
from torch.nn import functional

from dance.augment import cutmix, siamese
from dance.core.errors import ConfigError
from dance.core.rng import generator
from dance.networks import Network, State

_PREDICT_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Training of a classifier by SGD.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, smaller batch of a pass is kept.
        learning_rate: of SGD, before decay.
        momentum: of SGD.
        weight_decay: L2 penalty on all parameters.
        decay: factor on the learning rate at 2/3 and again at 5/6 of the epochs.
        augmentation: strategy of differentiable augmentation, a parameter draw per image.
        cutmix: probability per batch of CutMix.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: float = 0.2
    augmentation: str = "color_crop_flip_scale_rotate"
    cutmix: float = 0.5

    def rate(self, epoch: int) -> float:
        """Learning rate of the epoch, counted from 0."""
        passed = (epoch >= 2 * self.epochs // 3) + (epoch >= 5 * self.epochs // 6)
        return float(self.learning_rate * self.decay**passed)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Labelled images on one device.

    Attributes:
        images: (N,C,H,W) uint8, or float32 that is standardised already.
        labels: (N,) int64.
        mean: per channel, of pixels in [0,1]; used for uint8 images.
        std: likewise.
    """

    images: torch.Tensor
    labels: torch.Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        """Images in all."""
        return len(self.labels)

    def batch(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Standardised float32 images (n,C,H,W)."""
        return standardise(self.images[rows], self.mean, self.std)


def standardise(
    images: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Pixels to what a network eats.

    Args:
        images: (n,C,H,W) uint8, or float, which is taken as standardised and returned as it is.
        mean: per channel, of pixels in [0,1].
        std: likewise.
        dtype: of the result.

    Returns:
        (n,C,H,W): (pixel / 255 - mean) / std.
    """
    if images.dtype != torch.uint8:
        return images
    middle = torch.tensor(mean, dtype=dtype, device=images.device).view(-1, 1, 1)
    spread = torch.tensor(std, dtype=dtype, device=images.device).view(-1, 1, 1)
    return torch.addcmul(-middle / spread, images.to(dtype), 1 / (255 * spread))


@dataclass(frozen=True)
class EpochResult:
    """What one pass over the data gave, per member.

    Attributes:
        loss: mean training loss.
        accuracy: share of training images classified rightly while training (with augmentation and
            CutMix).
    """

    loss: list[float]
    accuracy: list[float]


class Fit:
    """Members in training.

    Args:
        network: the skeleton; a copy is used.
        states: initial state of each member, on the device of ``data``.
        data: what to train on.
        config: how.
        seeds: of each member.
        bfloat16: run the network's arithmetic in bfloat16 (parameters and loss stay float32).
    """

    def __init__(
        self,
        network: Network,
        states: Sequence[State],
        data: TrainingData,
        config: FitConfig,
        seeds: Sequence[int],
        *,
        bfloat16: bool = False,
    ) -> None:
        self.network = copy.deepcopy(network).train()
        self.data, self.config, self.seeds, self.bfloat16 = data, config, list(seeds), bfloat16
        self.epoch, self._step = 0, 0
        self._loss, self._hits = torch.zeros(2, len(seeds), device=data.labels.device)
        trained = network.parameter_names()
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        self.parameters = {
            name: tensor.requires_grad_() for name, tensor in stacked.items() if name in trained
        }
        self.buffers = {name: tensor for name, tensor in stacked.items() if name not in trained}
        self._optimiser = torch.optim.SGD(
            list(self.parameters.values()),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def state(self, member: int) -> State:
        """Parameters and buffers of one member, detached copies."""
        return {
            name: tensor[member].detach().clone()
            for name, tensor in {**self.parameters, **self.buffers}.items()
        }

    def snapshot(self) -> list[dict[str, torch.Tensor]]:
        """All that is needed to go on from this step, member by member; copies.

        A member does not depend on those beside it: another :class:`Fit` may take up some of them.
        """
        members = []
        for member in range(len(self.seeds)):
            tensors = {f"state.{name}": tensor for name, tensor in self.state(member).items()}
            for name, parameter in self.parameters.items():
                if parameter in self._optimiser.state:
                    momentum = self._optimiser.state[parameter]["momentum_buffer"]
                    tensors[f"momentum.{name}"] = momentum[member].clone()
            tensors["loss"] = self._loss[member].clone()
            tensors["hits"] = self._hits[member].clone()
            place = {"epoch": torch.tensor(self.epoch), "step": torch.tensor(self._step)}
            members.append({**tensors, **place})
        return members

    def restore(self, snapshot: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Go to where a :meth:`snapshot` of these members was taken.

        Args:
            snapshot: of each member, in the order of the seeds, all taken at the same step.
        """
        ((self.epoch, self._step),) = {
            (int(member["epoch"]), int(member["step"])) for member in snapshot
        }

        def stacked(name: str) -> torch.Tensor:
            return torch.stack([member[name] for member in snapshot])

        with torch.no_grad():
            for name, tensor in {**self.parameters, **self.buffers}.items():
                tensor.copy_(stacked(f"state.{name}"))
            self._loss.copy_(stacked("loss"))
            self._hits.copy_(stacked("hits"))
            for name, parameter in self.parameters.items():
                if all(f"momentum.{name}" in member for member in snapshot):
                    momentum = torch.empty_like(parameter).copy_(stacked(f"momentum.{name}"))
                    self._optimiser.state[parameter] = {"momentum_buffer": momentum}

    def steps_done(self) -> int:
        """SGD steps so far, of all passes."""
        return self.epoch * self.steps_per_epoch() + self._step

    def steps_per_epoch(self) -> int:
        """SGD steps in one pass.

        A last batch of a single image is left out where the network has batch norm, which needs two
        values to normalise.
        """
        full, rest = divmod(len(self.data), self.config.batch_size)
        return full + (rest > (1 if self.buffers and full else 0))

    def train_epoch(self, advance: Callable[[int], None] = lambda steps: None) -> EpochResult:
        """One pass over the data, or the rest of the one that was begun.

        Args:
            advance: told of every step when it is done and the members are whole: it may take a
                :meth:`snapshot`, and end the pass by raising.

        Raises:
            ConfigError: the loss is no longer finite.
        """
        device = self.data.labels.device
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.rate(self.epoch)
        orders = [
            torch.randperm(len(self.data), generator=generator(seed, "order", self.epoch))
            for seed in self.seeds
        ]
        while self._step < self.steps_per_epoch():
            first = self._step * self.config.batch_size
            chosen = slice(first, first + self.config.batch_size)
            rows = torch.stack([order[chosen] for order in orders]).to(device)
            step_loss, step_hits = self.step(rows, self.steps_done())
            self._loss += step_loss * rows.shape[1]
            self._hits += step_hits
            self._step += 1
            advance(1)
        count = len(self.data)
        result = EpochResult((self._loss / count).tolist(), (self._hits / count).tolist())
        self.epoch, self._step = self.epoch + 1, 0
        self._loss.zero_()
        self._hits.zero_()
        if not all(map(math.isfinite, result.loss)):
            raise ConfigError(
                f"the training loss must stay finite: got {result.loss} in epoch {self.epoch}; "
                f"lower the learning rate (now {self.config.learning_rate})"
            )
        return result

    def step(self, rows: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One SGD step of every member on its rows (g,b); mean losses and hits, (g,) each."""
        labels = self.data.labels[rows]
        images, partners, shares = [], [], []
        for member, seed in enumerate(self.seeds):
            mixed = self._member_batch(rows[member], generator(seed, "augment", step))
            images.append(mixed[0])
            partners.append(labels[member] if mixed[1] is None else labels[member][mixed[1]])
            shares.append(mixed[2])
        share = torch.tensor(shares, device=rows.device)
        if len(self.seeds) == 1:  # a grouped convolution of one group would only cost time
            parameters = {name: tensor[0] for name, tensor in self.parameters.items()}
            buffers = {name: tensor[0] for name, tensor in self.buffers.items()}
            found = self._objective(
                parameters, buffers, images[0], labels[0], partners[0], share[0]
            )
            loss, hits = found[0][None], found[1][None]
        else:
            loss, hits = vmap(self._objective)(
                self.parameters,
                self.buffers,
                torch.stack(images),
                labels,
                torch.stack(partners),
                share,
            )
        self._optimiser.zero_grad(set_to_none=True)
        loss.sum().backward()
        self._optimiser.step()
        return loss.detach(), hits

    def _member_batch(
        self, rows: torch.Tensor, draws: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        """One member's augmented and mixed images (b,C,H,W), partners (b,) if mixed, own share."""
        config, side = self.config, self.data.images.shape[-1]
        parameters = siamese.draw(config.augmentation, len(rows), side, draws)
        images = siamese.apply(self.data.batch(rows), parameters.to(rows.device))
        images = images.contiguous(memory_format=torch.channels_last)
        mix = cutmix.draw_mix(len(rows), side, config.cutmix, draws)
        if mix is None:
            return images, None, 1.0
        return cutmix.apply_mix(images, mix), mix.partner.to(rows.device), mix.share

    def _objective(
        self,
        parameters: State,
        buffers: State,
        images: torch.Tensor,
        labels: torch.Tensor,
        partners: torch.Tensor,
        share: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """CutMix cross-entropy and hits of one member."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = functional_call(self.network, {**parameters, **buffers}, (images,))
        logits = logits.float()
        loss = share * functional.cross_entropy(logits, labels) + (
            1 - share
        ) * functional.cross_entropy(logits, partners)
        return loss, (logits.argmax(1) == labels).sum().detach()


def predict(
    network: Network, state: State, data: TrainingData, *, bfloat16: bool = False
) -> torch.Tensor:
    """Predicted classes (N,) int64 on the CPU, in evaluation mode, without augmentation."""
    skeleton = copy.deepcopy(network).eval()
    found = []
    with torch.no_grad(), torch.autocast(data.labels.device.type, torch.bfloat16, enabled=bfloat16):
        for start in range(0, len(data), _PREDICT_BATCH):
            images = data.batch(slice(start, start + _PREDICT_BATCH)).contiguous(
                memory_format=torch.channels_last
            )
            found.append(skeleton.logits(state, images).argmax(1))
    return torch.cat(found).cpu()
