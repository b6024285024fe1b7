"""SGD on canvases in which every class takes its own optimiser step, in closed form for all.

IDC, DREAM and DANCE keep the canvases of all classes in one tensor and call an SGD optimiser with
momentum once per class and loss. A class whose turn it is not has gradient 0, yet its momentum
keeps moving it. One full cycle moves a class by about lr g / (1 - m) before its own next gradient,
twice lr g at m = 0.5, and nothing of the momentum is left. That is part of the published dynamics
and is reproduced here without K steps on the whole tensor: at its own turn

    v <- m v + g,   x <- x - lr v,

and over k steps of other classes

    x <- x - lr v m (1 - m^k) / (1 - m),   v <- m^k v.

A loss of a class depends on its own canvases alone, so all classes can be brought to the moment of
their own turn, their gradients be taken in one batch, and their steps be made together.
"""

from __future__ import annotations

import torch


class ClassSGD:
    """Per-class SGD over one cycle after another.

    A *cycle* is one loop over the K classes, class c taking the c-th step. Call :meth:`before`,
    take all gradients, then :meth:`step`, then :meth:`after`.

    Args:
        pixels: (K*ipc,C,S,S) canvases, class-major; changed in place.
        velocity: likewise, momentum buffer; changed in place.
        classes: K.
        learning_rate: of one step.
        momentum: m in [0, 1).
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        velocity: torch.Tensor,
        classes: int,
        learning_rate: float,
        momentum: float,
    ) -> None:
        self._pixels, self._velocity = pixels, velocity
        self._learning_rate, self._momentum = learning_rate, momentum
        order = torch.arange(classes, device=pixels.device).repeat_interleave(
            len(pixels) // classes
        )
        self._earlier = order.view(-1, 1, 1, 1)
        self._later = classes - 1 - self._earlier

    def before(self) -> None:
        """Let every class drift through the steps of the classes before it."""
        self._drift(self._earlier)

    def step(self, gradient: torch.Tensor) -> None:
        """Every class's own step with its gradient, (K*ipc,C,S,S)."""
        self._velocity.mul_(self._momentum).add_(gradient)
        self._pixels.sub_(self._velocity, alpha=self._learning_rate)

    def after(self) -> None:
        """Let every class drift through the steps of the classes after it."""
        self._drift(self._later)

    def _drift(self, steps: torch.Tensor) -> None:
        m = self._momentum
        if m == 0:
            return
        left = torch.pow(
            torch.tensor(m, dtype=self._pixels.dtype, device=self._pixels.device), steps
        )
        self._pixels.addcmul_(
            self._velocity, (1 - left) * (m / (1 - m)), value=-self._learning_rate
        )
        self._velocity.mul_(left)
