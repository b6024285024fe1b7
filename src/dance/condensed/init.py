"""The pixels that a condensation starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from dance.condensed.decoders import cell_side, check_factor
from dance.core import rng
from dance.core.errors import ConfigError, nearest
from dance.data.imageset import ImageSet

InitRule = Literal["first", "random", "collage", "noise", "normal"]


def initial_pixels(
    train: ImageSet,
    ipc: int,
    factor: int,
    rule: InitRule,
    seed: int,
    classes: range | None = None,
) -> Tensor:
    """Stored images to start from: real images, or noise.

    Cells are counted row by row; cell k of stored image j of a class receives the class's real
    image number k * ipc + j (modulo the size of the class when ipc * factor^2 exceeds it), brought
    to the cell's size by nearest-neighbour interpolation (the "mix" start of IDC and DANCE).

    Each image is put exactly where :func:`~dance.condensed.decoders.decode` cuts. The authors' code
    spreads the remainder over the first rows and columns instead, which is the same grid for every
    setting of the paper and off by one pixel against its own decoder for a factor of 3 on sides
    such as 28 and 64.

    Args:
        train: real images.
        ipc: stored images per class.
        factor: cells along a side of a stored image.
        rule: ``first`` takes a class's images in dataset order (the authors' code), ``random``
            takes them in a random order (the paper), ``collage`` too, but shrinks them bilinearly
            without antialiasing (Zhao et al. 2023, IDM), ``noise`` takes uniform noise, ``normal``
            noise that is N(0,1) when it is standardised (Zhao et al. 2021).
        seed: of the random order and of the noise.
        classes: labels to make stored images for (none: all K).

    Returns:
        (K * ipc, C, S, S) float32 in unit space on the images' device, class by class.

    Raises:
        ConfigError: ipc exceeds the size of a class, the factor does not fit, or the rule is
            unknown.
    """
    if ipc < 1:
        raise ConfigError(f"images per class must be at least 1: got {ipc}")
    check_factor(factor, train.resolution)
    labels = range(train.num_classes) if classes is None else classes
    if rule in ("noise", "normal"):
        return _noise(train, ipc, rule, seed, labels)
    if rule not in get_args(InitRule):
        raise ConfigError(f"unknown init rule {rule!r}{nearest(rule, get_args(InitRule))}")
    cells = torch.arange(ipc * factor**2)
    chosen = [train.labels.new_empty(0, factor**2, ipc)]
    for label in labels:
        rows, name = train.rows(label), train.classes[label]
        if len(rows) < ipc:
            raise ConfigError(
                f"images per class must not exceed the size of any class: got {ipc}, and "
                f"class {name!r} has {len(rows)} training images; use a smaller --ipc"
            )
        if rule in ("random", "collage"):
            order = torch.randperm(len(rows), generator=rng.keyed_generator(seed, "init", label))
            rows = rows[order.to(rows.device)]
        chosen.append(rows[cells.to(rows.device) % len(rows)].view(1, factor**2, ipc))
    index = torch.cat(chosen).transpose(1, 2).reshape(-1, factor**2)
    return place(train.images, index, factor, "bilinear" if rule == "collage" else "nearest")


def place(
    images: Tensor,
    index: Tensor,
    factor: int,
    shrink: Literal["nearest", "bilinear"] = "nearest",
) -> Tensor:
    """Stored images with real images in their cells.

    Args:
        images: (N,C,S,S) uint8.
        index: (n, factor^2) int64, the image of each cell, row by row.
        factor: cells along a side.
        shrink: how an image comes to the size of its cell.

    Returns:
        (n,C,S,S) float32 in unit space.
    """
    resolution = images.shape[-1]
    cell = cell_side(factor, resolution)
    stored_images = images.new_zeros((len(index), *images.shape[1:]), dtype=torch.float32)
    for k in range(factor**2):
        top, left = k // factor * cell, k % factor * cell
        spot = stored_images[:, :, top : top + cell, left : left + cell]
        real = images[index[:, k]].float() / 255
        spot.copy_(functional.interpolate(real, size=spot.shape[-2:], mode=shrink))
    return stored_images


def _noise(train: ImageSet, ipc: int, rule: InitRule, seed: int, labels: range) -> Tensor:
    shape = (ipc, train.channels, train.resolution, train.resolution)
    draw = torch.rand if rule == "noise" else torch.randn
    drawn = [draw(shape, generator=rng.keyed_generator(seed, "init", label)) for label in labels]
    noise = torch.cat([torch.empty(0, *shape[1:]), *drawn])
    if rule == "normal":
        noise = replace(train.normalization, whitening=None).invert(noise)
    return noise.to(train.images.device)
