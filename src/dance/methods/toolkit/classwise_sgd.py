"""SGD on stored images in which every class takes its own optimiser step, in closed form for all.

IDC, DREAM and DANCE keep the stored images of all classes in one tensor and call an SGD optimiser
with momentum once per class and loss. A class whose turn it is not has gradient 0, yet its momentum
keeps moving it. One full cycle moves a class by about lr g / (1 - m) before its own next gradient,
twice lr g at m = 0.5, and nothing of the momentum is left. That is part of the published dynamics
and is reproduced here without K steps on the whole tensor: at its own turn

    v <- m v + g,   x <- x - lr v,

and over k steps of other classes

    x <- x - lr v m (1 - m^k) / (1 - m),   v <- m^k v.

A loss of a class depends on its own stored images alone, so all classes can be brought to the
moment of their own turn, their gradients be taken in one batch, and their steps be made together.
"""

from __future__ import annotations

from typing import Protocol

import torch


class ClassOptimiser(Protocol):
    """An optimiser of stored images, for one cycle over the classes."""

    def before(self) -> None:
        """Bring every class to its own turn."""
        ...

    def step(self, gradient: torch.Tensor) -> None:
        """Every class's own step with its gradient, (k*ipc,C,S,S)."""
        ...

    def after(self) -> None:
        """Bring every class to the end of the cycle."""
        ...


class ClassSGD:
    """Per-class SGD over one cycle after another.

    A *cycle* is one loop over the K classes, class c taking the c-th step. Call :meth:`before`,
    take all gradients, then :meth:`step`, then :meth:`after`.

    Args:
        pixels: (k*ipc,C,S,S) stored images of the own classes, class-major; changed in place.
        velocity: likewise, momentum buffer; changed in place.
        classes: K, all classes of a cycle.
        learning_rate: of one step.
        momentum: m in [0, 1).
        own: the k classes whose stored images these are (none: all K). The others' steps are
            counted nevertheless, so stored images move as they would beside them.
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        velocity: torch.Tensor,
        classes: int,
        learning_rate: float,
        momentum: float,
        own: range | None = None,
    ) -> None:
        self.pixels, self.velocity = pixels, velocity
        self._learning_rate, self._momentum = learning_rate, momentum
        own = range(classes) if own is None else own
        self._drifts = momentum > 0 and classes > 1
        if self._drifts:
            each = len(pixels) // max(1, len(own))
            earlier = torch.arange(own.start, own.stop).repeat_interleave(each).view(-1, 1, 1, 1)
            self._earlier = self._kept(earlier)
            self._later = self._kept(classes - 1 - earlier)

    def before(self) -> None:
        """Let every class drift through the steps of the classes before it."""
        if self._drifts:
            self._drift(*self._earlier)

    def step(self, gradient: torch.Tensor) -> None:
        """Every class's own step with its gradient, (k*ipc,C,S,S)."""
        self.velocity.mul_(self._momentum).add_(gradient)
        self.pixels.sub_(self.velocity, alpha=self._learning_rate)

    def after(self) -> None:
        """Let every class drift through the steps of the classes after it."""
        if self._drifts:
            self._drift(*self._later)

    def _kept(self, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What (k*ipc,1,1,1) numbers of other steps do.

        Returns:
            The share of the velocity that is left, m^k, and how far the stored images move in
            units of it, m (1 - m^k) / (1 - m).
        """
        m, dtype = self._momentum, self.pixels.dtype
        left = torch.pow(torch.tensor(m, dtype=dtype), steps)
        moved = (1 - left) * (m / (1 - m))
        return left.to(self.pixels.device), moved.to(self.pixels.device)

    def _drift(self, left: torch.Tensor, moved: torch.Tensor) -> None:
        self.pixels.addcmul_(self.velocity, moved, value=-self._learning_rate)
        self.velocity.mul_(left)
