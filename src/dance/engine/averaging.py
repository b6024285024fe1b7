"""The mean of the stored images over the last steps of a run, as its result."""

from __future__ import annotations

import torch

from dance.methods.base import Tensors


class MeanOfLast:
    """Averages stored images over the last steps.

    A constant learning rate leaves the stored images moving about an optimum, which their mean is
    nearer to than any one of them (Polyak & Juditsky, 1992).

    Args:
        pixels: (k*ipc,C,S,S) stored images, for shape, type and device.
        iterations: steps of the run.
        part: of the steps, in [0,1]; 0 for none, otherwise at least one step.
    """

    def __init__(self, pixels: torch.Tensor, iterations: int, part: float) -> None:
        self._iterations = iterations
        self._count = max(1, round(part * iterations)) if part else 0
        self._total = torch.zeros_like(pixels) if part else None

    def tensors(self) -> Tensors:
        """What a checkpoint must hold: the sum so far, with rows as those of the pixels."""
        return {} if self._total is None else {"sum_of_pixels": self._total}

    def stepped(self, iteration: int, pixels: torch.Tensor) -> None:
        """Take the stored images after a step; after the last one, replace them by the mean.

        Args:
            iteration: of the step, from 0.
            pixels: (k*ipc,C,S,S) stored images, which are changed in place.
        """
        if self._total is None or iteration < self._iterations - self._count:
            return
        self._total.add_(pixels)
        if iteration == self._iterations - 1:
            torch.div(self._total, self._count, out=pixels)
