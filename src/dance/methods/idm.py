"""IDM: improved distribution matching (Zhao, Li, Qin & Yu, CVPR 2023).

A queue holds networks that are trained on real images while the stored images are condensed. Each
iteration

1. appends a fresh network every ``push_interval`` iterations; a full queue drops its oldest,
2. draws one network of the queue,
3. for every class, augments a real batch and the decoded synthetic images (partitioning and
   expansion: a stored image is cut in four quarters, each enlarged) by one operation of DSA with
   the same parameters, and takes a step on the squared distance of their mean features plus
   ``ce_weight`` times the network's running training accuracy *in percent* times the cross-entropy
   of the synthetic images,
4. draws ``fetch`` networks of the queue and trains each by some SGD steps on real images.

As in the released command list, which made the published numbers: three networks are in the queue
before the first iteration pushes a fourth; untrained networks are matched too; queue networks are
trained without augmentation; the accuracy of every network is counted anew every
``meter_interval`` iterations (there, at every evaluation, of which there is none here); every class
takes its own optimiser step with momentum on the shared stored images.

Deviations from the released code: the classes share one forward and their steps are made in closed
form (:mod:`dance.methods.toolkit.classwise_sgd`), so the momentum that is left at the end of an
iteration is exact too; embedding and logits come from one forward, not two; all four pictures of a
stored image stand beside each other, not in four blocks, which no mean can tell; the whole class
as a real batch is ``real_batch: 0``. Starting from four real pictures a stored image is ``init:
collage`` in the run, for TinyImageNet too, where the released script does the opposite of what it
says. Left out: the rule for one image per class without expansion, which no published command uses.

Every process would need all real images to train the same queue, so one condenses all classes.
"""

from __future__ import annotations

import copy
import math

import torch
from torch.nn import functional

from dance.augment import Strategy
from dance.core.config import AtLeastOne, Count, Momentum, NonNegative, Positive, configuration
from dance.core.rng import keyed_generator
from dance.methods.base import METHODS, CondensationTask, Condenser, Tensors
from dance.methods.toolkit.distribution import (
    Chunk,
    RealFeatures,
    SyntheticImages,
    forward,
    pictures,
    real_batch_size,
    single_operation,
)
from dance.networks import Network, State
from dance.objectives.calibration import class_cross_entropy
from dance.objectives.moments import class_means, mean_distance

_FIRST = 3
"""Networks in the queue before the first iteration."""


@configuration
class IDMConfig:
    """Settings of IDM; the defaults are those of CIFAR-10 with 10 images per class."""

    iterations: AtLeastOne = 20_000
    """Steps on the stored images."""
    learning_rate: Positive = 0.2
    """Learning rate of SGD on standardised pixels."""
    momentum: Momentum = 0.5
    """Momentum of SGD on the pixels."""
    real_batch: Count = 256
    """Real images per class and iteration; 0 takes all."""
    augmentation: Strategy = "color_crop_cutout_flip_scale_rotate"
    """Operations of DSA, of which every class draws one; empty: none."""
    ce_weight: NonNegative = 0.5
    """Weight of the cross-entropy for each percent of training accuracy of the network."""
    queue: AtLeastOne = 100
    """Largest number of networks in the queue."""
    push_interval: AtLeastOne = 30
    """Iterations between two fresh networks that enter the queue."""
    fetch: AtLeastOne = 2
    """Networks of the queue that are trained in an iteration."""
    model_steps: AtLeastOne = 10
    """SGD steps of each network that is trained in an iteration."""
    model_batch: AtLeastOne = 256
    """Real images per SGD step of a network of the queue."""
    model_learning_rate: Positive = 0.01
    """Learning rate of the networks of the queue."""
    model_momentum: Momentum = 0.9
    """Momentum of SGD on the networks of the queue."""
    model_weight_decay: NonNegative = 5e-4
    """Weight of the L2 penalty on the parameters of the networks of the queue."""
    meter_interval: AtLeastOne = 100
    """Iterations after which the networks' training accuracies are counted anew."""


class Layout:
    """A network's state as one row of numbers, parameters first.

    Args:
        network: whose states they are.

    Attributes:
        size: numbers in a row.
        trained: of which are parameters.
    """

    def __init__(self, network: Network) -> None:
        parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
        self._shapes = {name: t.shape for name, t in {**parameters, **buffers}.items()}
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]
        self._parameters = list(parameters)
        self.size, self.trained = sum(self._sizes), sum(p.numel() for p in parameters.values())

    def row(self, state: State) -> torch.Tensor:
        """(size,) from a state, detached."""
        parts = [state[name].detach().flatten() for name in self._shapes]
        return torch.cat([part.to(parts[0].dtype) for part in parts])

    def state(self, row: torch.Tensor) -> State:
        """Views of a row (size,) by name."""
        parts = row.split(self._sizes)
        shapes = self._shapes.items()
        return {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}

    def parameters(self, state: State) -> list[torch.Tensor]:
        """Those of a state that are trained, in the order of the row."""
        return [state[name] for name in self._parameters]

    def leaves(self, state: State) -> State:
        """The state with parameters to differentiate by, and with buffers that may be written."""
        return {
            name: tensor.detach().requires_grad_() if name in self._parameters else tensor.clone()
            for name, tensor in state.items()
        }


@METHODS.register("idm")
class IDM(Condenser):
    """IDM; see the module's text.

    The state's ``networks`` (queue,P) hold network number i in row i modulo the queue's length,
    ``network_velocities`` their momentum, ``hits`` and ``seen`` (queue,) what they recognised of
    how many training images since the last count. How many there are follows from the iteration.
    """

    title = "IDM"
    paper = "Zhao et al., CVPR 2023"
    year = 2023
    space = "normalized"
    whole = True
    shared = frozenset({"networks", "network_velocities", "hits", "seen"})
    Config = IDMConfig
    config: IDMConfig

    @property
    def iterations(self) -> int:
        """Steps in all."""
        return self.config.iterations

    def real_images(self, device: torch.device, resolution: int) -> int:
        """Those of a group of classes, or a training batch, whose gradients take twice as much."""
        return max(real_batch_size(device, resolution), 2 * self.config.model_batch)

    def networks_held(self) -> int:
        """The queue, with its momentum."""
        return 2 * self.config.queue

    def setup(self, task: CondensationTask) -> Tensors:
        """Stored images, their momentum, and the queue with its first networks."""
        config, initial = self.config, task.initial
        self._layout = Layout(task.network)
        self._training = copy.deepcopy(task.network).train()
        together = real_batch_size(task.device, task.train.resolution)
        self._real = RealFeatures(task, config.real_batch, together)
        rates = (config.learning_rate, config.momentum)
        self._synthetic = SyntheticImages(task, *rates, "per_class")
        counts = torch.zeros(2, config.queue, dtype=torch.int64, device=task.device)
        state = self._synthetic.start() | {
            "networks": initial.new_zeros(config.queue, self._layout.size),
            "network_velocities": initial.new_zeros(config.queue, self._layout.trained),
            "hits": counts[0].clone(),
            "seen": counts[1].clone(),
        }
        for number in range(_FIRST):
            self._push(task, state, number)
        return state

    def step(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """One iteration: push, match, train."""
        config = self.config
        if iteration % config.meter_interval == 0:
            state["hits"].zero_()
            state["seen"].zero_()
        if iteration % config.push_interval == 0:
            self._push(task, state, _FIRST + iteration // config.push_interval)
        losses = self._match(task, state, iteration)
        self._train(task, state, iteration)
        return losses

    def _match(self, task: CondensationTask, state: Tensors, iteration: int) -> Tensors:
        """A step on the stored images with a network of the queue."""
        generator = keyed_generator(task.seed, "matched network", iteration)
        place = int(torch.randint(self._held(iteration), (), generator=generator))
        network = self._layout.state(state["networks"][place])
        hits, seen = (state[name][place].to(state["pixels"]) for name in ("hits", "seen"))
        percent = 100 * hits / seen.clamp(min=1)
        change = single_operation(task, self.config.augmentation, iteration)

        def embed(images: torch.Tensor) -> torch.Tensor:
            return forward(task, task.network.embed, network, images)

        real = self._real.means(embed, change, self._real.rows(iteration).to(task.device))

        def view(stored_images: torch.Tensor, chunk: Chunk) -> torch.Tensor:
            return change(pictures(task, stored_images, self.space), chunk.owners)

        def losses(chunk: Chunk, images: torch.Tensor) -> Tensors:
            found = embed(images)
            logits = functional.linear(
                found, network["classifier.weight"], network["classifier.bias"]
            )
            means = class_means(found, chunk.sizes)
            return {
                "matching": mean_distance(real[chunk.classes], means),
                "cross_entropy": class_cross_entropy(logits, chunk.labels, chunk.sizes),
            }

        weights: dict[str, float | torch.Tensor] = {"matching": 1.0}
        weights["cross_entropy"] = self.config.ce_weight * percent
        return self._synthetic.descend(state, view, losses, weights)

    def _train(self, task: CondensationTask, state: Tensors, iteration: int) -> None:
        """Some steps of some networks of the queue on real images."""
        config, train = self.config, task.train
        generator = keyed_generator(task.seed, "queue", iteration)
        fetched = torch.randperm(self._held(iteration), generator=generator)[: config.fetch]
        for place in fetched.tolist():
            for _ in range(config.model_steps):
                every = torch.randperm(len(train.labels), generator=generator)
                rows = every[: config.model_batch].to(train.images.device)
                self._descend(task, state, place, train.images[rows], train.labels[rows])

    def _descend(
        self,
        task: CondensationTask,
        state: Tensors,
        place: int,
        images: torch.Tensor,
        labels: torch.Tensor,
    ) -> None:
        """One SGD step of a network of the queue on images (b,C,H,W) uint8."""
        config, layout, train = self.config, self._layout, task.train
        row, velocity = state["networks"][place], state["network_velocities"][place]
        weights = layout.state(row)
        leaves = layout.leaves(weights)
        images, labels = images.to(task.device), labels.to(task.device)
        eaten = train.normalization.apply_bytes(images, task.initial.dtype)
        logits = forward(task, self._training.logits, leaves, eaten)
        loss = functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, layout.parameters(leaves))
        if layout.size > layout.trained:  # what batch norm saw
            row[layout.trained :] = layout.row(leaves)[layout.trained :]
        trained = row[: layout.trained]
        velocity.mul_(config.model_momentum).add_(trained, alpha=config.model_weight_decay)
        velocity.add_(torch.cat([gradient.flatten() for gradient in gradients]))
        trained.sub_(velocity, alpha=config.model_learning_rate)
        state["hits"][place] += (logits.detach().argmax(1) == labels).sum()
        state["seen"][place] += len(labels)

    def _push(self, task: CondensationTask, state: Tensors, number: int) -> None:
        """Put a fresh network into the queue, where the oldest is when it is full."""
        place = number % self.config.queue
        fresh = task.network.initial(keyed_generator(task.seed, "network", number))
        state["networks"][place].copy_(self._layout.row(fresh))
        state["network_velocities"][place].zero_()
        state["hits"][place] = 0
        state["seen"][place] = 0

    def _held(self, iteration: int) -> int:
        """Networks in the queue after the push of an iteration."""
        return min(_FIRST + 1 + iteration // self.config.push_interval, self.config.queue)
