"""A network that is trained between the steps of a condenser, all of it in state tensors.

Weights, momentum and buffers lie flat in three tensors of fixed names, whatever the network, so
that a checkpoint holds them and a process that goes on from it trains as if never stopped.
"""

from __future__ import annotations

import copy

import torch
from torch.nn import functional

from dance.augment.cutmix import Mix, apply_mix
from dance.methods.base import CondensationTask, Tensors
from dance.methods.toolkit.distribution import forward
from dance.networks import State

SHARED = frozenset({"network", "network_velocity", "network_buffers"})
"""The names of the state tensors."""


class InnerNetwork:
    """The layout of a network in a condenser's state, and its training by SGD.

    Args:
        task: whose network it is.

    Attributes:
        network: the skeleton in training mode, which moves the running means of batch norm.
        buffers: whether the network has any, as batch norm does.
    """

    def __init__(self, task: CondensationTask) -> None:
        self._problem = task
        self.network = copy.deepcopy(task.network).train()
        self._trained = self._layout(dict(self.network.named_parameters()))
        held = dict(self.network.named_buffers())
        self._counts = {name for name, buffer in held.items() if not buffer.is_floating_point()}
        self._held = self._layout(held)
        self.buffers = bool(held)

    def start(self) -> Tensors:
        """State tensors of the right sizes; :meth:`renew` puts a network in them."""
        zeros = self._problem.initial.new_zeros
        size = sum(shape.numel() for shape in self._trained.values())
        state = {"network": zeros(size), "network_velocity": zeros(size)}
        if self.buffers:
            size = sum(shape.numel() for shape in self._held.values())
            state["network_buffers"] = zeros(size)
        return state

    def renew(self, state: Tensors, generator: torch.Generator) -> None:
        """An untrained network without momentum."""
        weights = self.weights(state)
        for name, tensor in self._problem.network.initial(generator).items():
            weights[name].copy_(tensor)
        state["network_velocity"].zero_()

    def weights(self, state: Tensors) -> State:
        """The network by name: parameters and buffers, views of the state.

        Counters of batches are written but not read by any network here, which is why it does not
        matter that they are floats in between.
        """
        found = self._views(state["network"], self._trained)
        if self.buffers:
            found |= self._views(state["network_buffers"], self._held)
        return found

    def eaten(self, state: State) -> State:
        """Weights as the skeletons take them, with counters as whole numbers."""
        return {n: t.long() if n in self._counts else t for n, t in state.items()}

    def apart(self, state: State) -> State:
        """Weights with buffers of their own, which a forward in training mode may change."""
        return {n: t.clone() if n in self._held else t for n, t in state.items()}

    def observe(self, state: Tensors, images: torch.Tensor) -> None:
        """Let batch norm see standardised images in training mode: one step of its averages."""
        with torch.no_grad():
            forward(self._problem, self.network.logits, self.eaten(self.weights(state)), images)

    def train(
        self,
        state: Tensors,
        images: torch.Tensor,
        labels: torch.Tensor,
        learning_rate: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        mix: Mix | None = None,
    ) -> None:
        """One step of SGD on the mean cross-entropy, changing the state.

        Args:
            state: of the condenser.
            images: (n,C,H,W) standardised and augmented.
            labels: (n,) int64 on the device.
            learning_rate: of SGD.
            momentum: likewise.
            weight_decay: likewise, on all parameters.
            mix: CutMix of the batch, if any.
        """
        held = self.weights(state)
        leaves = {name: held[name].detach().requires_grad_() for name in self._trained}
        if mix is not None:
            images = apply_mix(images, mix)
        logits = forward(self._problem, self.network.logits, self.eaten(held | leaves), images)
        loss = functional.cross_entropy(logits, labels)
        if mix is not None:
            other = functional.cross_entropy(logits, labels[mix.partner.to(labels.device)])
            loss = mix.lam * loss + (1 - mix.lam) * other
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        velocities = self._views(state["network_velocity"], self._trained)
        for name, gradient in zip(leaves, gradients, strict=True):
            velocity = velocities[name].mul_(momentum).add_(gradient)
            velocity.add_(held[name], alpha=weight_decay)
            held[name].sub_(velocity, alpha=learning_rate)

    @staticmethod
    def _layout(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in tensors.items()}

    @staticmethod
    def _views(flat: torch.Tensor, layout: dict[str, torch.Size]) -> State:
        parts = flat.split([shape.numel() for shape in layout.values()])
        return {name: part.view(layout[name]) for name, part in zip(layout, parts, strict=True)}
