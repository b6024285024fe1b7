"""AdamW on stored images with a separate optimiser step for every class, computed in one batch.

NCFM keeps the stored images of all classes in one tensor and calls AdamW once per class and loss.
In the steps of other classes a class has gradient 0, yet its moments decay, its momentum moves it
and the weight decay shrinks it. Step number t since the beginning, with gradient g, is

    x <- (1 - lr w) x,   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,
    x <- x - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + 1e-8).

So a class drifts by about sqrt(K) lr per cycle at a constant gradient, K the number of classes.
Steps without a gradient need no network: every class is advanced to its own turn, all gradients are
computed in one batch, and the steps are made in one operation (compare
:mod:`dance.methods.toolkit.classwise_sgd`, which has a closed form for this).
"""

from __future__ import annotations

import math

import torch

from dance.training.optimisers import ADAMW_BETAS, ADAMW_EPSILON

_B1, _B2 = ADAMW_BETAS


class ClassAdamW:
    """Per-class AdamW over one cycle after another, in which class c takes the c-th step.

    Args:
        pixels: (k*ipc,C,S,S) stored images of the own classes, class-major; changed in place.
        moments: m and v, each of the shape of ``pixels``; changed in place.
        classes: K, all classes of a cycle; 1 for one joint step of all classes.
        learning_rate: of one step.
        weight_decay: w.
        updates: 0-dim int64, number of steps before the next cycle; changed in place.
        own: the k classes whose stored images these are (None: all K).
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        moments: tuple[torch.Tensor, torch.Tensor],
        classes: int,
        learning_rate: float,
        weight_decay: float,
        updates: torch.Tensor,
        own: range | None = None,
    ) -> None:
        self._tensors = (pixels, *moments)
        self.learning_rate, self._weight_decay = learning_rate, weight_decay
        self._updates, self._done = updates, 0
        self._classes, self._own = classes, range(classes) if own is None else own
        self._each = len(pixels) // max(1, len(self._own))

    def before(self) -> None:
        """Begin a cycle: apply to every class the steps of the classes before it."""
        self._done = int(self._updates)
        self._updates.add_(self._classes)
        for turn in range(self._classes - 1):
            self._drift(slice(self._rows(turn + 1), None), turn)

    def step(self, gradient: torch.Tensor) -> None:
        """Take every class's own step, with the gradient (k*ipc,C,S,S)."""
        _, first, second = self._tensors
        first.lerp_(gradient, 1 - _B1)
        second.mul_(_B2).addcmul_(gradient, gradient, value=1 - _B2)
        for place, turn in enumerate(self._own):
            self._move(slice(place * self._each, (place + 1) * self._each), turn)

    def after(self) -> None:
        """Apply to every class the steps of the classes after it."""
        for turn in range(1, self._classes):
            self._drift(slice(0, self._rows(turn)), turn)

    def _rows(self, label: int) -> int:
        """Rows of the own classes before a class."""
        return max(0, min(label, self._own.stop) - self._own.start) * self._each

    def _drift(self, rows: slice, turn: int) -> None:
        """Make a step of some stored images without a gradient."""
        _, first, second = self._tensors
        first[rows].mul_(_B1)
        second[rows].mul_(_B2)
        self._move(rows, turn)

    def _move(self, rows: slice, turn: int) -> None:
        """Move some stored images by their moments, in the step of a class."""
        pixels, first, second = (tensor[rows] for tensor in self._tensors)
        number = self._done + turn + 1
        denominator = second.sqrt().div_(math.sqrt(1 - _B2**number)).add_(ADAMW_EPSILON)
        pixels.mul_(1 - self.learning_rate * self._weight_decay)
        pixels.addcdiv_(first, denominator, value=-self.learning_rate / (1 - _B1**number))
