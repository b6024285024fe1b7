"""Mirror left and right."""

from __future__ import annotations

import torch

from dance.augment.operation import OPERATIONS, Operation


@OPERATIONS.register("flip")
class Flip(Operation):
    """Flip horizontally with probability 1/2; parameters (n,) bool."""

    always = True

    @staticmethod
    def draw(count: int, resolution: int, generator: torch.Generator) -> torch.Tensor:
        """Whether each image is flipped."""
        return torch.rand(count, generator=generator) < 0.5

    @staticmethod
    def apply(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """Reverse the columns of the images whose parameter is true."""
        return torch.where(parameters.view(-1, 1, 1, 1), images.flip(-1), images)
