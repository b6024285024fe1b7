"""A ConvNet block as one operation: 3x3 convolution, instance norm, ReLU and 2x2 average pooling.

On a CPU, a C kernel computes it for one image after the other, so that the maps stay in the cache,
with Winograd's convolution, or in bfloat16 with the matrix unit of a processor that has one; see
``conv_block.c``. Under autocast to bfloat16, the kernel rounds the
factors of the convolution's products to bfloat16; maps, sums and all else are float32 in any case.
Where there is no kernel, it is PyTorch's convolution followed by
:func:`dance.kernels.norm_relu_pool`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch.nn import functional

from dance.kernels.autograd import Compiled, FirstDerivatives
from dance.kernels.library import call, in_memory, library, panel
from dance.kernels.norm_relu_pool import norm_relu_pool

MAX_FIRST_CHANNELS = 4
"""A block with at most this many input channels is a first block, with a direct convolution."""
POINTS = 36
"""Products of one tile in Winograd's F(4x4,3x3); what the matrix unit needs is less."""
SLICE = 16
"""Number of images over which the kernel sums the weight gradients of a first block; ``SLICE`` of
the C source."""


def conv_block(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    *,
    eps: float,
    padding: int,
) -> torch.Tensor:
    """Convolution, instance norm, ReLU and 2x2 average pooling of images or maps.

    The kernel has first derivatives only; see :func:`dance.kernels.plain_operations`.

    Args:
        x: (n,C,H,W) images or maps.
        weight: (O,C,3,3) of the convolution.
        bias: (O,) of the convolution. The norm subtracts it, so the kernel leaves it out, and its
            gradient is 0.
        gamma: (O,) scale of the norm.
        beta: (O,) shift of the norm.
        eps: added to the variance.
        padding: rows and columns of zeros on each side of ``x``, at least 1.

    Returns:
        (n,O,H',W') in the dtype of ``x``, with H' = (H + 2*padding - 2) // 2; W' is computed from W
        in the same way.
    """
    if conv_block_supports(x, weight, bias, gamma, beta, padding=padding):
        save = torch.is_grad_enabled()
        pooled: torch.Tensor = _Block.apply(x, weight, bias, gamma, beta, eps, padding, save)[0]  # type: ignore[no-untyped-call]
        return pooled
    maps = functional.conv2d(x, weight, bias, padding=padding)
    return norm_relu_pool(maps, gamma, beta, eps)


def conv_block_supports(
    x: torch.Tensor, weight: torch.Tensor, *vectors: torch.Tensor, padding: int
) -> bool:
    """Whether the kernel can compute the block: float32 on the CPU, and whole panels of channels.

    What does not fit together is left to PyTorch, which refuses it. Under autocast to bfloat16,
    there must be kernels for it.

    Args:
        x: (n,C,H,W).
        weight: (O,C,3,3).
        vectors: the other parameters, each (O,).
        padding: rows and columns of zeros on each side of ``x``.
    """
    tensors = (x, weight, *vectors)
    if not in_memory(*tensors) or any(t.dtype != torch.float32 for t in tensors):
        return False
    if torch.is_autocast_enabled("cpu") and not under_autocast():
        return False
    if x.ndim != 4 or not x.numel() or weight.shape[1:] != (x.shape[1], 3, 3) or padding < 1:
        return False
    if any(vector.shape != weight.shape[:1] for vector in vectors):
        return False
    if library(bfloat16=under_autocast()) is None:
        return False
    first = weight.shape[1] <= MAX_FIRST_CHANNELS
    later = weight.shape[1] % panel() == 0 and padding == 1
    return weight.shape[0] % panel() == 0 and (first or later)


def under_autocast() -> bool:
    """Whether networks on the CPU run in bfloat16 here."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


class _Block(Compiled):
    """The kernel as a differentiable function; it has no second derivatives."""

    @staticmethod
    def forward(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        eps: float,
        padding: int,
        save: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        n, c, h, w = x.shape
        outer, weight, bfloat16 = len(weight), weight.detach(), under_autocast()
        x, gamma, beta = channels_last(x), gamma.contiguous(), beta.contiguous()
        height, width = h + 2 * padding - 2, w + 2 * padding - 2
        pooled, y = empty_maps(n, outer, height // 2, width // 2), None
        mean, rstd = torch.empty(n, outer), torch.empty(n, outer)
        epsilon, threads = ctypes.c_float(eps), torch.get_num_threads()
        if c <= MAX_FIRST_CHANNELS:
            packed = pack_forward(weight)
            sizes = (n, h, w, c, padding, outer, epsilon, threads)
            tensors: tuple[torch.Tensor | None, ...] = (x, packed, gamma, beta, pooled, mean, rstd)
            call("first_forward", *tensors, *sizes, bfloat16=bfloat16)
        else:
            packed = packed_weights(weight, bfloat16=bfloat16)
            y = empty_maps(n, outer, height, width) if save else None
            tensors = (x, packed, gamma, beta, y, pooled, mean, rstd)
            shape = (n, height, width, c, outer, epsilon, threads)
            call("forward", *tensors, *shape, bfloat16=bfloat16)
        return pooled, y, mean, rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, weight, _, gamma, beta, _, ctx.padding, _ = inputs
        _, y, mean, rstd = output
        ctx.mark_non_differentiable(*(t for t in (y, mean, rstd) if t is not None))
        ctx.set_materialize_grads(False)
        ctx.bfloat16 = under_autocast()  # the backward pass runs outside of the context
        ctx.save_for_backward(x, weight, gamma, beta, y, mean, rstd)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        values = (ctx.padding, ctx.bfloat16, *ctx.needs_input_grad[:3])
        return *_Gradients.of(gradient, *ctx.saved_tensors, *values), None, None, None


class _Gradients(FirstDerivatives):
    """The gradients of what :class:`_Block` is a function of."""

    @staticmethod
    def forward(
        gradient: torch.Tensor,
        x: torch.Tensor,
        weight: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        y: torch.Tensor | None,
        mean: torch.Tensor,
        rstd: torch.Tensor,
        padding: int,
        bfloat16: bool,
        for_x: bool,
        for_weight: bool,
        for_bias: bool,
    ) -> tuple[torch.Tensor | None, ...]:
        n, c, h, w = x.shape
        outer, gradient, x = len(weight), channels_last(gradient), channels_last(x)
        norm = (gamma.contiguous(), beta.contiguous(), mean, rstd)
        gx = empty_maps(n, c, h, w) if for_x else None
        gw, dgamma, dbeta = None, torch.empty(n, outer), torch.empty(n, outer)
        threads = torch.get_num_threads()
        if c <= MAX_FIRST_CHANNELS:
            sums = torch.empty(-(-n // SLICE), 9 * c, outer) if for_weight else None
            packed = (pack_forward(weight), pack_backward(weight) if for_x else None)
            sizes = (n, h, w, c, padding, outer, threads)
            tensors: tuple[torch.Tensor | None, ...]
            tensors = (x, *packed, *norm, gradient, gx, sums, dgamma, dbeta)
            call("first_backward", *tensors, *sizes, bfloat16=bfloat16)
            if sums is not None:
                gw = sums.sum(0).view(3, 3, c, outer)
        else:
            gy = empty_maps(n, outer, h, w) if for_weight else None
            flipped = packed_weights(weight, flipped=True, bfloat16=bfloat16) if for_x else None
            shape = (n, h, w, c, outer, threads)
            tensors = (y, flipped, *norm, gradient, gx, gy, dgamma, dbeta)
            call("backward", *tensors, *shape, bfloat16=bfloat16)
            if for_weight:
                gw, sums = torch.empty(3, 3, c, outer), torch.empty(POINTS, c, outer)
                call("weight_gradient", x, gy, sums, gw, *shape, bfloat16=bfloat16)
        gw = None if gw is None else gw.permute(3, 2, 0, 1)
        gb = torch.zeros(outer) if for_bias else None
        return gx, gw, gb, dgamma.sum(0), dbeta.sum(0)


def empty_maps(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Uninitialised float32 maps (n,C,H,W) in the channels-last memory format."""
    return torch.empty((n, channels, height, width), memory_format=torch.channels_last)


def channels_last(maps: torch.Tensor) -> torch.Tensor:
    """Maps (n,C,H,W) with C contiguous in memory, also where PyTorch ignores a stride.

    ``contiguous(memory_format=channels_last)`` ignores the strides of axes of length 1.
    """
    return maps.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def pack_forward(weight: torch.Tensor) -> torch.Tensor:
    """Pack a first block's weights (O,C,3,3) into panels of P outputs: (O/P, 9*C, P)."""
    taps = weight.permute(2, 3, 1, 0).reshape(-1, len(weight) // panel(), panel())
    return taps.permute(1, 0, 2).contiguous()


def pack_backward(weight: torch.Tensor) -> torch.Tensor:
    """Pack a first block's weights into panels of P taps, padded with 0: (ceil(9*C/P), O, P)."""
    taps = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
    taps = functional.pad(taps, (0, -taps.shape[1] % panel()))
    return taps.view(len(weight), -1, panel()).permute(1, 0, 2).contiguous()


def packed_weights(
    weight: torch.Tensor, *, flipped: bool = False, bfloat16: bool = False
) -> torch.Tensor:
    """Weights (O,C,3,3) as the kernel reads them: in Winograd's space, or as the unit's tiles.

    Args:
        weight: of the convolution.
        flipped: swap inputs and outputs and flip both spatial axes, for the gradient of the input.
        bfloat16: for the kernels for networks in bfloat16.

    Returns:
        (36*C*O,), of which bfloat16 numbers fill the first half, and tiles the first eighth.
    """
    taps = weight.permute(2, 3, 0, 1) if flipped else weight.permute(2, 3, 1, 0)
    taps = taps.contiguous()
    transformed = torch.empty(POINTS * taps.shape[2] * taps.shape[3])
    sizes = (taps.shape[2], taps.shape[3], flipped, torch.get_num_threads())
    call("pack_weights", taps, transformed, *sizes, bfloat16=bfloat16)
    return transformed
