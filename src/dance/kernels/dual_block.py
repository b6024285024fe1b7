"""A ConvNet block and its derivative along a direction of the weights, as one operation.

The derivative of a loss along a direction v of the weights, <grad_w L, v>, has first derivatives
that are second ones of the loss. Carrying (value, derivative along v) through the network and one
backward pass give them without a graph of second order. In C on a CPU in float32
(``conv_block.c``), where :func:`dance.kernels.conv_block` runs there too.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from dance.kernels.conv_block import (
    FIRST,
    POINTS,
    SLICE,
    columns_of,
    fits,
    layout,
    maps,
    rows_of,
    run,
    winograd,
)

_STATS = 4
"""Numbers that are kept of each image and channel; ``STATS`` of the source."""


class Weights(NamedTuple):
    """Parameters of a block, or a direction in their space.

    Attributes:
        convolution: (O,C,3,3).
        gamma: (O,) scale of the norm.
        beta: (O,) shift of the norm.
    """

    convolution: torch.Tensor
    gamma: torch.Tensor
    beta: torch.Tensor


def dual_block(
    x: torch.Tensor,
    along: torch.Tensor | None,
    weights: Weights,
    direction: Weights,
    *,
    eps: float,
    padding: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A block's output, and its derivative where input and weights move.

    The gradients of both with respect to ``x``, ``along`` and ``weights`` are exact; there are none
    with respect to ``direction``, and none of a higher order. The convolution's bias is left out:
    the norm subtracts it.

    Args:
        x: (n,C,H,W) images or maps, such as :func:`dual_fits` allows.
        along: how ``x`` moves, of its shape; none for images that stand still, which have few
            channels.
        weights: of the block.
        direction: how they move.
        eps: added to the variance.
        padding: zeros around ``x``, at least 1.

    Returns:
        Two tensors (n,O,H',W'), with H' = (H + 2*padding - 2) // 2.
    """
    found: tuple[torch.Tensor, ...] = _Dual.apply(  # type: ignore[no-untyped-call]
        x, along, *weights, *direction, eps, padding
    )
    return found[0], found[1]


def dual_fits(x: torch.Tensor, weight: torch.Tensor, padding: int, *, moves: bool) -> bool:
    """Whether the kernel can do it.

    Args:
        x: (n,C,H,W).
        weight: (O,C,3,3).
        padding: zeros around ``x``.
        moves: whether ``x`` does; only those of few channels may stand still, and they must.
    """
    return moves == (weight.shape[1] > FIRST) and fits(x, weight, padding)


class _Dual(torch.autograd.Function):
    """The kernel, with the backward pass written by hand."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, along, weight, gamma, beta, moved, moved_gamma, moved_beta, eps, padding = inputs
        n, c, h, w = x.shape
        outer = len(weight)
        x, weight, moved = layout(x), weight.detach(), moved.detach()
        affine = [part.contiguous() for part in (gamma, beta, moved_gamma, moved_beta)]
        height, width = h + 2 * padding - 2, w + 2 * padding - 2
        first, second = (maps(n, outer, height // 2, width // 2) for _ in range(2))
        stats = torch.empty(n, _STATS, outer)
        epsilon, threads = ctypes.c_float(eps), torch.get_num_threads()
        y = t = None
        if along is None:
            shape = (n, h, w, c, padding, outer, epsilon, threads)
            packed = (rows_of(weight), rows_of(moved))
            run("first_dual_forward", x, *packed, *affine, first, second, stats, *shape)
        else:
            along = layout(along)
            y, t = (maps(n, outer, height, width) for _ in range(2))
            size = (n, height, width, c, outer, epsilon, threads)
            packed = (winograd(weight), winograd(torch.cat([moved, weight], 1)))
            run("dual_forward", x, along, *packed, *affine, y, t, first, second, stats, *size)
        ctx.padding = padding
        ctx.save_for_backward(x, along, weight, moved, *affine, y, t, stats)
        return first, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, along, weight, moved, *affine, y, t, stats = ctx.saved_tensors
        for_x, for_along, for_weight = ctx.needs_input_grad[:3]
        n, c, h, w = x.shape
        outer, threads = len(weight), torch.get_num_threads()
        gradients = tuple(map(layout, gradients))
        dgamma, dbeta = torch.empty(n, outer), torch.empty(n, outer)
        gx = gxa = gw = None
        if along is None:
            gx = maps(n, c, h, w) if for_x else None
            sums = torch.empty(-(-n // SLICE), 9 * c, outer) if for_weight else None
            back = columns_of(torch.cat([weight, moved])) if for_x else None
            packed = (rows_of(weight), rows_of(moved), back, *affine, stats, *gradients)
            shape = (n, h, w, c, ctx.padding, outer, threads)
            run("first_dual_backward", x, *packed, gx, sums, dgamma, dbeta, *shape)
            if sums is not None:
                gw = sums.sum(0).view(3, 3, c, outer)
        else:
            gx, gxa = maps(n, c, h, w), maps(n, c, h, w)
            gy, gt = torch.empty_like(y), torch.empty_like(t)
            both = winograd(torch.cat([moved, weight]), turned=True)
            turned = (winograd(weight, turned=True), both, *affine, stats, *gradients)
            size = (n, h, w, c, outer, threads)
            run("dual_backward", y, t, *turned, gx, gxa, gy, gt, dgamma, dbeta, *size)
            if for_weight:
                gw, sums = torch.zeros(3, 3, c, outer), torch.empty(POINTS, c, outer)
                for seen, slopes in ((x, gy), (along, gt)):
                    part = torch.empty_like(gw)
                    run("weight_gradient", seen, slopes, sums, part, *size)
                    gw += part
        gw = None if gw is None else gw.permute(3, 2, 0, 1)
        found = (gx if for_x else None, gxa if for_along else None, gw, dgamma.sum(0), dbeta.sum(0))
        return (*found, None, None, None, None, None)
