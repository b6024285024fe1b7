"""SGD on stored images with a separate optimiser step for every class, in closed form.

IDC, DREAM and DANCE keep the stored images of all classes in one tensor and call an SGD optimiser
with momentum once per class and loss. In the steps of other classes a class has gradient 0, yet its
momentum keeps moving it. With many classes, a gradient g has moved its class by about
lr g / (1 - m), twice lr g at m = 0.5, before the next gradient of the class, and almost no momentum
is left. That is part of the published dynamics and is reproduced here without K steps on the whole
tensor: at its own turn

    v <- m v + g,   x <- x - lr v,

and over k steps of other classes

    x <- x - lr v m (1 - m^k) / (1 - m),   v <- m^k v.

The loss of a class depends only on its own stored images, so all classes can be advanced to their
own turns, their gradients computed in one batch, and their steps made in one operation.
"""

from __future__ import annotations

from typing import Protocol

import torch

from dance.training.optimisers import flat_sgd_step


class ClassOptimiser(Protocol):
    """An optimiser of stored images in cycles, each of one step for every class in turn.

    Attributes:
        learning_rate: of one step; it may change between cycles.
    """

    learning_rate: float

    def before(self) -> None:
        """Advance every class to its own turn."""
        ...

    def step(self, gradient: torch.Tensor) -> None:
        """Take every class's own step, with the gradient (k*ipc,C,S,S)."""
        ...

    def after(self) -> None:
        """Advance every class to the end of the cycle."""
        ...


class ClassSGD:
    """Per-class SGD over one cycle after another.

    A *cycle* is one loop over the K classes, in which class c takes the c-th step. Call
    :meth:`before`, compute all gradients, then call :meth:`step` and :meth:`after`.

    Args:
        pixels: (k*ipc,C,S,S) stored images of the own classes, class-major; changed in place.
        velocity: (k*ipc,C,S,S) momentum buffer; changed in place.
        classes: K, all classes of a cycle.
        learning_rate: of one step.
        momentum: m in [0, 1).
        own: the k classes whose stored images these are (None: all K). The steps of the other
            classes are counted nevertheless, so that stored images move as in a process with all
            classes.
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
        self.learning_rate, self._momentum = learning_rate, momentum
        own = range(classes) if own is None else own
        self._drifts = momentum > 0 and classes > 1
        if self._drifts:
            each = len(pixels) // max(1, len(own))
            earlier = torch.arange(own.start, own.stop).repeat_interleave(each).view(-1, 1, 1, 1)
            self._earlier = self._drift_factors(earlier)
            self._later = self._drift_factors(classes - 1 - earlier)

    def before(self) -> None:
        """Apply to every class the steps of the classes before it."""
        if self._drifts:
            self._drift(*self._earlier)

    def step(self, gradient: torch.Tensor) -> None:
        """Take every class's own step, with the gradient (k*ipc,C,S,S)."""
        flat_sgd_step(self.pixels, self.velocity, gradient, self.learning_rate, self._momentum)

    def after(self) -> None:
        """Apply to every class the steps of the classes after it."""
        if self._drifts:
            self._drift(*self._later)

    def _drift_factors(self, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The effect of the steps of other classes; ``steps`` is their number, (k*ipc,1,1,1).

        Returns:
            The factor of the velocity, m^k, and the distance that the stored images move as a
            multiple of the velocity, m (1 - m^k) / (1 - m).
        """
        m, dtype = self._momentum, self.pixels.dtype
        left = torch.pow(torch.tensor(m, dtype=dtype), steps)
        moved = (1 - left) * (m / (1 - m))
        return left.to(self.pixels.device), moved.to(self.pixels.device)

    def _drift(self, left: torch.Tensor, moved: torch.Tensor) -> None:
        self.pixels.addcmul_(self.velocity, moved, value=-self.learning_rate)
        self.velocity.mul_(left)
