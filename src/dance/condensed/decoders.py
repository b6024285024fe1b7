"""From stored images to the images a network eats: pure, differentiable, without state.

A *stored image* of side S holds f x f small pictures in a grid; decoding cuts the grid and
enlarges each cell to S x S (IDC's "single" decoder, which DANCE uses: Kim et al. 2022, section
4.1). Factor 1 is the identity. IDC's other two decoders read stored images at several factors
while condensing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dance.core.errors import ConfigError

PADDING = 0.5
"""Grey in unit space, put right of and below an image whose side the factor does not divide."""


def check_factor(factor: int, resolution: int) -> None:
    """Refuse a factor that leaves cells of a stored image without a real pixel.

    Args:
        factor: cells along a side.
        resolution: of the stored image, in pixels.

    Raises:
        ConfigError: the factor does not fit; the message names those that do.
    """
    if factor >= 1 and _fits(factor, resolution):
        return
    fitting = [
        str(number) for number in range(1, min(resolution // 2, 8) + 1) if _fits(number, resolution)
    ]
    raise ConfigError(
        "factor must leave every cell of a stored image at least 2 pixels of side: "
        f"got factor {factor} for images of {resolution} x {resolution} pixels; "
        f"use one of {', '.join(fitting or ['1'])}"
    )


def _fits(factor: int, resolution: int) -> bool:
    cell = cell_side(factor, resolution)
    return factor == 1 or (factor <= resolution // 2 and resolution - (factor - 1) * cell >= 1)


def cell_side(factor: int, resolution: int) -> int:
    """Side of a cell in pixels, ceil(side / factor); the last ones may reach into the padding."""
    return -(-resolution // factor)


def decode(pixels: Tensor, factor: int) -> Tensor:
    """Cut every stored image in factor x factor cells and enlarge each to the stored image' size.

    The right and bottom edge is padded with 0.5 where the factor does not divide the side.
    Enlarging is bilinear with ``align_corners=False`` and no antialiasing. The authors' code puts
    all first cells first; here the cells of one stored image stay together, row by row, so that
    classes stay together too.

    Args:
        pixels: (n, C, S, S) floats in unit space; channels-last input gives channels-last output.
        factor: cells along a side.

    Returns:
        (n * factor^2, C, S, S) of the same dtype; entry ``(i * factor + row) * factor + column`` is
        that cell of stored image i.

    Raises:
        ConfigError: the factor does not fit the side.
    """
    if factor == 1:
        return pixels
    count, channels, resolution, _ = pixels.shape
    check_factor(factor, resolution)
    cell = cell_side(factor, resolution)
    if missing := factor * cell - resolution:
        pixels = functional.pad(pixels, (0, missing, 0, missing), value=PADDING)
    if pixels.is_contiguous(memory_format=torch.channels_last) and not pixels.is_contiguous():
        rows_first = pixels.permute(0, 2, 3, 1).reshape(count, factor, cell, factor, cell, channels)
        cells = rows_first.transpose(2, 3).reshape(-1, cell, cell, channels).permute(0, 3, 1, 2)
    else:
        grid = pixels.reshape(count, channels, factor, cell, factor, cell)
        cells = grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, cell, cell)
    return functional.interpolate(
        cells, size=(resolution, resolution), mode="bilinear", align_corners=False
    )


def decode_multi(pixels: Tensor, factor: int) -> Tensor:
    """Every stored image at every factor from 1 to ``factor`` (IDC's "multi" decoder).

    Args:
        pixels: (n,C,S,S) as for :func:`decode`, of one class.
        factor: the largest.

    Returns:
        (n * (1 + 4 + ... + factor^2), C, S, S), factor after factor.
    """
    return torch.cat([decode(pixels, each) for each in range(1, factor + 1)])


def decode_bound(pixels: Tensor, factor: int, bound: int) -> Tensor:
    """Every stored image at one factor, the largest that a bound allows (IDC's "bound" decoder).

    From ``factor`` down to 2, the next stored images are read at that factor, as many as fit when
    each stored image that is left, these included, has one picture set aside; the rest is read
    whole.

    Args:
        pixels: (n,C,S,S) as for :func:`decode`, of one class.
        factor: the largest.
        bound: pictures in all, unless there are more stored images.

    Returns:
        (m,C,S,S), stored image after stored image.
    """
    found, left, room = [], pixels, bound
    for each in range(factor, 0, -1):
        fit = max(0, room - len(left)) // each**2 if each > 1 else len(left)
        taken, left = left[:fit], left[fit:]
        if len(taken):
            found.append(decode(taken, each))
            room -= len(found[-1])
    return torch.cat(found)


def decode_labels(labels: Tensor, factor: int) -> Tensor:
    """Labels of what :func:`decode` returns: (n,) becomes (n * factor^2,)."""
    return labels.repeat_interleave(factor * factor)
