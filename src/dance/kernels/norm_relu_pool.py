"""Instance norm, ReLU and 2x2 average pooling as one operation.

On a CPU, these three operations take more time than the convolutions of a ConvNet if each of them
reads and writes all maps. The kernel reads the maps once, and saves only means and reciprocal
standard deviations for the backward pass.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dance.kernels.library import call, library

_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}


def norm_relu_pool(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Instance norm, ReLU and 2x2 average pooling of maps.

    Args:
        x: (n,C,H,W) maps.
        weight: (C,) scale of the norm.
        bias: (C,) shift of the norm.
        eps: added to the variance.

    Returns:
        (n,C,H//2,W//2) in the dtype of ``x``.
    """
    if x.device.type == "cpu" and x.dtype in _SUFFIX and library() is not None:
        return _Fused.apply(x, weight, bias, eps)[0]  # type: ignore[no-any-return,no-untyped-call]
    return plain(x, weight, bias, eps)


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """:func:`norm_relu_pool` in PyTorch's operations, for every device and dtype."""
    y = functional.group_norm(x, x.shape[1], weight.to(x.dtype), bias.to(x.dtype), eps)
    return functional.avg_pool2d(functional.relu_(y), 2)


class _Fused(torch.autograd.Function):
    """The kernel as a differentiable function; it has no second derivatives."""

    @staticmethod
    def forward(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, c, h, w = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        shape = (n, c, h // 2, w // 2)
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        mean, rstd = (torch.empty(n, c) for _ in range(2))
        _call("forward", x, weight, bias, y, mean, rstd, n, h, w, c, ctypes.c_float(eps))
        return y, mean, rstd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        x, weight, bias, _ = inputs
        _, mean, rstd = output
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(x, weight, bias, mean, rstd)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        n, c, h, w = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        gx = torch.empty_like(x)
        gw, gb = (torch.empty(n, c) for _ in range(2))
        _call("backward", x, weight, bias, mean, rstd, gradient, gx, gw, gb, n, h, w, c)
        return gx, gw.sum(0).to(weight.dtype), gb.sum(0).to(bias.dtype), None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
    ) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
        """Call the kernel once for each network, since every network has its own weights."""
        results = []
        for member in range(info.batch_size):
            arguments = [
                tensor if dim is None else tensor.select(dim, member)
                for tensor, dim in zip((x, weight, bias), in_dims, strict=False)
            ]
            results.append(_Fused.apply(*arguments, eps))  # type: ignore[no-untyped-call]
        return tuple(torch.stack(column) for column in zip(*results, strict=True)), (0, 0, 0)


def _call(name: str, x: torch.Tensor, *arguments: Any) -> None:
    """Call the kernel for the dtype of ``x``; maps must be contiguous with channels last."""
    converted = [t.float().contiguous() if _is_vector(t) else t for t in arguments]
    call(f"{name}_{_SUFFIX[x.dtype]}", x, *converted)


def _is_vector(argument: Any) -> bool:
    """Whether it is a parameter vector (C,), which the kernel reads as float32."""
    return isinstance(argument, torch.Tensor) and argument.ndim == 1
