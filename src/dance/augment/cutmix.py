"""CutMix (Yun et al. 2019) with one box for a whole batch, applied with a given probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Mix:
    """One drawn mixture of a batch of n images.

    Attributes:
        partner: (n,) int64, the image whose box each image receives.
        box: top, bottom, left, right in pixels (half open).
        lam: lambda, the fraction of the area that stays an image's own; the loss is
            lam CE(y) + (1-lam) CE(y_partner).
    """

    partner: torch.Tensor
    box: tuple[int, int, int, int]
    lam: float


def draw_mix(
    count: int, resolution: int, probability: float, generator: torch.Generator
) -> Mix | None:
    """Draw the mixture of one batch, or none.

    The box is a square of length int(resolution * sqrt(1 - u)) with u ~ Beta(1, 1) = U(0, 1) around
    a uniform centre, clipped at the border.

    Args:
        count: n, images in the batch.
        resolution: H = W in pixels.
        probability: of mixing the batch.
        generator: keyed generator on the CPU.
    """
    chance, u = torch.rand(2, generator=generator).tolist()
    if chance >= probability:
        return None
    partner = torch.randperm(count, generator=generator)
    row, column = torch.randint(resolution, (2,), generator=generator).tolist()
    length = int(resolution * (1 - u) ** 0.5)
    top, bottom = max(0, row - length // 2), min(resolution, row + length // 2)
    left, right = max(0, column - length // 2), min(resolution, column + length // 2)
    return Mix(
        partner, (top, bottom, left, right), 1 - (bottom - top) * (right - left) / resolution**2
    )


def apply_mix(images: torch.Tensor, mix: Mix) -> torch.Tensor:
    """Paste each partner's box: (n,C,H,W) to (n,C,H,W); the input is not changed."""
    top, bottom, left, right = mix.box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[
        mix.partner.to(images.device), :, top:bottom, left:right
    ]
    return mixed
