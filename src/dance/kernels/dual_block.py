"""A ConvNet block and its derivative along a direction of the weights, as one operation.

The first derivatives of <grad_w L, v>, the derivative of a loss along a direction v of the weights,
are second derivatives of the loss. They are computed without double backward if the network is
evaluated on dual numbers, pairs of a value and its derivative along v (its *tangent*), and then
differentiated once. The kernel is in ``conv_block.c``; like :func:`dance.kernels.conv_block`, it
runs on a CPU, and under autocast to bfloat16 with products of bfloat16.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch

from dance.kernels.autograd import FirstDerivatives
from dance.kernels.conv_block import (
    MAX_FIRST_CHANNELS,
    POINTS,
    SLICE,
    channels_last,
    conv_block_supports,
    empty_maps,
    pack_backward,
    pack_forward,
    packed_weights,
    under_autocast,
)
from dance.kernels.library import call, in_memory

_STATS = 4
"""Numbers that are saved for each image and channel; ``STATS`` of the C source."""


class BlockWeights(NamedTuple):
    """The parameters of a block, or their tangents.

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
    tangent: torch.Tensor | None,
    weights: BlockWeights,
    direction: BlockWeights,
    *,
    eps: float,
    padding: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output of a block, and its tangent: its derivative along given tangents of its inputs.

    Both have exact gradients with respect to ``x``, ``tangent`` and ``weights``, but none with
    respect to ``direction`` and none of higher order. The bias of the convolution is left out,
    because the norm subtracts it.

    Args:
        x: (n,C,H,W) images or maps, for which :func:`dual_block_supports` is true.
        tangent: of ``x``, of the same shape; None where it is 0, as that of images is.
        weights: of the block.
        direction: the tangents of the weights.
        eps: added to the variance.
        padding: rows and columns of zeros on each side of ``x``, at least 1.

    Returns:
        Output and tangent, each (n,O,H',W') float32, with H' = (H + 2*padding - 2) // 2.
    """
    outputs: tuple[torch.Tensor, ...] = _Dual.apply(  # type: ignore[no-untyped-call]
        x, tangent, *weights, *direction, eps, padding
    )
    return outputs[0], outputs[1]


def dual_block_supports(
    x: torch.Tensor,
    tangent: torch.Tensor | None,
    weights: BlockWeights,
    direction: BlockWeights,
    *,
    padding: int,
) -> bool:
    """Whether the kernel can compute the block and its tangent.

    The arguments are those of :func:`dual_block`. A first block needs an ``x`` without a tangent,
    and all others need one with it.
    """
    if not conv_block_supports(x, *weights, padding=padding):
        return False
    if (x.shape[1] <= MAX_FIRST_CHANNELS) != (tangent is None):
        return False
    tangents = zip((x, *weights), (x if tangent is None else tangent, *direction), strict=True)
    return all(in_memory(t) and (t.shape, t.dtype) == (v.shape, v.dtype) for v, t in tangents)


class _Dual(torch.autograd.Function):
    """The kernel as a differentiable function; it has no second derivatives."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, tangent, weight, gamma, beta, direction, gamma_tangent, beta_tangent, *rest = inputs
        eps, padding = rest
        n, c, h, w = x.shape
        outer = len(weight)
        x, weight, direction = channels_last(x), weight.detach(), direction.detach()
        affine = [part.contiguous() for part in (gamma, beta, gamma_tangent, beta_tangent)]
        height, width = h + 2 * padding - 2, w + 2 * padding - 2
        outputs = [empty_maps(n, outer, height // 2, width // 2) for _ in range(2)]
        stats = torch.empty(n, _STATS, outer)
        epsilon, threads = ctypes.c_float(eps), torch.get_num_threads()
        ctx.bfloat16 = bfloat16 = under_autocast()
        y = t = None
        if tangent is None:
            sizes = (n, h, w, c, padding, outer, epsilon, threads)
            packed = (pack_forward(weight), pack_forward(direction))
            tensors = (x, *packed, *affine, *outputs, stats)
            call("first_dual_forward", *tensors, *sizes, bfloat16=bfloat16)
        else:
            tangent = channels_last(tangent)
            y, t = (empty_maps(n, outer, height, width) for _ in range(2))
            shape = (n, height, width, c, outer, epsilon, threads)
            stacked = packed_weights(torch.cat([direction, weight], 1), bfloat16=bfloat16)
            packed = (packed_weights(weight, bfloat16=bfloat16), stacked)
            tensors = (x, tangent, *packed, *affine, y, t, *outputs, stats)
            call("dual_forward", *tensors, *shape, bfloat16=bfloat16)
        ctx.padding = padding
        ctx.save_for_backward(*inputs[:8], y, t, stats)  # as given, so that they stay connected
        return outputs[0], outputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values = (ctx.padding, ctx.bfloat16, *ctx.needs_input_grad[:3])
        no_gradient = (None,) * 5  # of the direction, eps and padding
        return *_Gradients.of(*gradients, *ctx.saved_tensors, *values), *no_gradient


class _Gradients(FirstDerivatives):
    """The gradients of what :class:`_Dual` is a function of."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[torch.Tensor | None, ...]:
        *gradients, x, tangent, weight, gamma, beta = inputs[:7]
        direction, gamma_tangent, beta_tangent, y, t, stats = inputs[7:13]
        padding, bfloat16, for_x, for_tangent, for_weight = inputs[13:]
        n, c, h, w = x.shape
        outer, threads, x = len(weight), torch.get_num_threads(), channels_last(x)
        affine = [part.contiguous() for part in (gamma, beta, gamma_tangent, beta_tangent)]
        gradients = list(map(channels_last, gradients))
        dgamma, dbeta = torch.empty(n, outer), torch.empty(n, outer)
        gx = gx_tangent = gw = None
        if tangent is None:
            gx = empty_maps(n, c, h, w) if for_x else None
            sums = torch.empty(-(-n // SLICE), 9 * c, outer) if for_weight else None
            back = pack_backward(torch.cat([weight, direction])) if for_x else None
            packed = (pack_forward(weight), pack_forward(direction), back)
            sizes = (n, h, w, c, padding, outer, threads)
            tensors = (x, *packed, *affine, stats, *gradients, gx, sums, dgamma, dbeta)
            call("first_dual_backward", *tensors, *sizes, bfloat16=bfloat16)
            if sums is not None:
                gw = sums.sum(0).view(3, 3, c, outer)
        else:
            tangent = channels_last(tangent)
            gx, gx_tangent = empty_maps(n, c, h, w), empty_maps(n, c, h, w)
            gy, gt = torch.empty_like(y), torch.empty_like(t)
            both = torch.cat([direction, weight])
            stacked = packed_weights(both, flipped=True, bfloat16=bfloat16)
            flipped = packed_weights(weight, flipped=True, bfloat16=bfloat16)
            shape = (n, h, w, c, outer, threads)
            saved = (flipped, stacked, *affine, stats, *gradients)
            tensors = (y, t, *saved, gx, gx_tangent, gy, gt, dgamma, dbeta)
            call("dual_backward", *tensors, *shape, bfloat16=bfloat16)
            if for_weight:
                gw, sums = torch.zeros(3, 3, c, outer), torch.empty(POINTS, c, outer)
                for maps, gradient in ((x, gy), (tangent, gt)):
                    part = torch.empty_like(gw)
                    call("weight_gradient", maps, gradient, sums, part, *shape, bfloat16=bfloat16)
                    gw += part
        gw = None if gw is None else gw.permute(3, 2, 0, 1)
        gx, gx_tangent = gx if for_x else None, gx_tangent if for_tangent else None
        return gx, gx_tangent, gw, dgamma.sum(0), dbeta.sum(0)
