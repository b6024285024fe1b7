"""A ConvNet block as one operation: 3x3 convolution, instance norm, ReLU and 2x2 average pooling.

On a CPU in float32 the C kernel does it image by image inside the cache, with Winograd's form of
the convolution; see ``conv_block.c``. Everywhere else PyTorch's convolution is followed by
:func:`dance.kernels.norm_relu_pool`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dance.kernels.library import call, compiled, library
from dance.kernels.norm_relu_pool import norm_relu_pool

FIRST = 4
"""Input channels up to which a block is a first one, whose convolution is done directly."""
POINTS = 36
"""Products of one tile in Winograd's F(4x4,3x3)."""
SLICE = 16
"""Images whose first-layer weight gradients are summed together; ``SLICE`` of the source."""


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
    """Average over 2x2 of the positive part of the instance-normalised convolution.

    Args:
        x: (n,C,H,W) images or maps.
        weight: (O,C,3,3) of the convolution.
        bias: (O,) of the convolution. The norm subtracts it: the kernel leaves it out, and its
            gradient is 0.
        gamma: (O,) scale of the norm.
        beta: (O,) shift of the norm.
        eps: added to the variance.
        padding: zeros around ``x``, at least 1.

    Returns:
        (n,O,H',W') of the dtype of ``x``, with H' = (H + 2*padding - 2) // 2.
    """
    if fits(x, weight, padding):
        keep = torch.is_grad_enabled()
        pooled: torch.Tensor = _Block.apply(x, weight, bias, gamma, beta, eps, padding, keep)[0]  # type: ignore[no-untyped-call]
        return pooled
    maps = functional.conv2d(x, weight, bias, padding=padding)
    return norm_relu_pool(maps, gamma, beta, eps)


def fits(x: torch.Tensor, weight: torch.Tensor, padding: int) -> bool:
    """Whether the kernel can do it: float32 on the CPU, whole panels of channels."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if torch.is_autocast_enabled("cpu") or weight.shape[2:] != (3, 3) or padding < 1:
        return False
    if not len(x):
        return False
    found = library("conv_block")
    if found is None:
        return False
    panel = found.panel()
    first, later = weight.shape[1] <= FIRST, weight.shape[1] % panel == 0 and padding == 1
    return bool(weight.shape[0] % panel == 0 and (first or later))


class _Block(torch.autograd.Function):
    """The kernel, with the backward pass written by hand; it has no second derivative."""

    @staticmethod
    def forward(
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        gamma: torch.Tensor,
        beta: torch.Tensor,
        eps: float,
        padding: int,
        keep: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        n, c, h, w = x.shape
        outer = len(weight)
        x, weight, gamma, beta = layout(x), weight.detach(), gamma.contiguous(), beta.contiguous()
        height, width = h + 2 * padding - 2, w + 2 * padding - 2
        pooled, y = maps(n, outer, height // 2, width // 2), None
        mean, rstd = torch.empty(n, outer), torch.empty(n, outer)
        epsilon, threads = ctypes.c_float(eps), torch.get_num_threads()
        if c <= FIRST:
            last = (mean, rstd, n, h, w, c, padding, outer, epsilon, threads)
            run("first_forward", x, rows_of(weight), gamma, beta, pooled, *last)
        else:
            y = maps(n, outer, height, width) if keep else None
            shape = (n, height, width, c, outer, epsilon, threads)
            run("forward", x, winograd(weight), gamma, beta, y, pooled, mean, rstd, *shape)
        return pooled, y, mean, rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, weight, _, gamma, beta, _, ctx.padding, _ = inputs
        _, y, mean, rstd = output
        ctx.mark_non_differentiable(*(t for t in (y, mean, rstd) if t is not None))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, gamma, beta, y, mean, rstd)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        x, weight, gamma, beta, y, mean, rstd = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        n, c, h, w = x.shape
        outer, gradient, x = len(weight), layout(gradient), layout(x)
        gamma, beta = gamma.contiguous(), beta.contiguous()
        gx = maps(n, c, h, w) if for_x else None
        gw, dgamma, dbeta = None, torch.empty(n, outer), torch.empty(n, outer)
        threads = torch.get_num_threads()
        if c <= FIRST:
            sums = torch.empty(-(-n // SLICE), 9 * c, outer) if for_weight else None
            packed, back = rows_of(weight), columns_of(weight) if for_x else None
            last = (dgamma, dbeta, n, h, w, c, ctx.padding, outer, threads)
            kept = (gamma, beta, mean, rstd)
            run("first_backward", x, packed, back, *kept, gradient, gx, sums, *last)
            if sums is not None:
                gw = sums.sum(0).view(3, 3, c, outer)
        else:
            gy = torch.empty_like(y) if for_weight else None
            turned = winograd(weight, turned=True) if for_x else None
            shape = (n, h, w, c, outer, threads)
            kept = (gamma, beta, mean, rstd)
            run("backward", y, turned, *kept, gradient, gx, gy, dgamma, dbeta, *shape)
            if for_weight:
                gw, sums = torch.empty(3, 3, c, outer), torch.empty(POINTS, c, outer)
                run("weight_gradient", x, gy, sums, gw, n, h, w, c, outer, threads)
        gw = None if gw is None else gw.permute(3, 2, 0, 1)
        gb = torch.zeros(outer) if for_bias else None
        return gx, gw, gb, dgamma.sum(0), dbeta.sum(0), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[torch.Tensor | None, ...], tuple[int | None, ...]]:
        """One call a member: each has weights of its own."""
        parts = []
        for member in range(info.batch_size):
            own = [
                value if dim is None else value.select(dim, member)
                for value, dim in zip(inputs, in_dims, strict=True)
            ]
            parts.append(_Block.apply(*own))  # type: ignore[no-untyped-call]
        columns = list(zip(*parts, strict=True))
        stacked = tuple(None if part[0] is None else torch.stack(part) for part in columns)
        return stacked, tuple(None if part is None else 0 for part in stacked)


def maps(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Uninitialised float32 maps, channels last."""
    return torch.empty((n, channels, height, width), memory_format=torch.channels_last)


def layout(maps: torch.Tensor) -> torch.Tensor:
    """Channels last in memory, whatever the strides of axes of length 1 say."""
    return maps.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def rows_of(weight: torch.Tensor) -> torch.Tensor:
    """A first layer's weights by panel of outputs: (O/P, 9*C, P)."""
    panel = _panel()
    taps = weight.permute(2, 3, 1, 0).reshape(-1, len(weight) // panel, panel)
    return taps.permute(1, 0, 2).contiguous()


def columns_of(weight: torch.Tensor) -> torch.Tensor:
    """A first layer's weights by panel of taps, filled up with zeros: (ceil(9*C/P), O, P)."""
    panel = _panel()
    taps = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
    taps = functional.pad(taps, (0, -taps.shape[1] % panel))
    return taps.view(len(weight), -1, panel).permute(1, 0, 2).contiguous()


def winograd(weight: torch.Tensor, *, turned: bool = False) -> torch.Tensor:
    """Weights (O,C,3,3) in Winograd's space; turned by 180 degrees for the input's gradient."""
    taps = weight.permute(2, 3, 0, 1) if turned else weight.permute(2, 3, 1, 0)
    taps = taps.contiguous()
    found = torch.empty(POINTS * taps.shape[2] * taps.shape[3])
    shape = (taps.shape[2], taps.shape[3], turned, torch.get_num_threads())
    run("transform_weights", taps, found, *shape)
    return found


def _panel() -> int:
    found = compiled("conv_block")
    assert found is not None
    return int(found.panel())


def run(name: str, *arguments: Any) -> None:
    """Call a function of the source."""
    call("conv_block", name, *arguments)
