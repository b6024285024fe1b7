"""Instance norm, ReLU and 2x2 average pooling as one operation.

On a CPU these three take more time than a ConvNet's convolutions when each reads and writes all
maps. The kernel reads them once and keeps nothing for the backward pass but means and deviations.
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
    """Average over 2x2 of the positive part of instance-normalised maps.

    Args:
        x: (n,C,H,W) maps.
        weight: (C,) scale.
        bias: (C,) shift.
        eps: added to the variance.

    Returns:
        (n,C,H//2,W//2) of the dtype of ``x``.
    """
    if x.device.type == "cpu" and x.dtype in _SUFFIX and library("norm_relu_pool") is not None:
        return _Fused.apply(x, weight, bias, eps)[0]  # type: ignore[no-any-return,no-untyped-call]
    return plain(x, weight, bias, eps)


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """The same in PyTorch's operations, for other devices and dtypes."""
    y = functional.group_norm(x, x.shape[1], weight.to(x.dtype), bias.to(x.dtype), eps)
    return functional.avg_pool2d(functional.relu_(y), 2)


class _Fused(torch.autograd.Function):
    """The kernel, with the backward pass written by hand."""

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
        out = torch.empty_like(x)
        gw, gb = (torch.empty(n, c) for _ in range(2))
        _call("backward", x, weight, bias, mean, rstd, gradient, out, gw, gb, n, h, w, c)
        return out, gw.sum(0).to(weight.dtype), gb.sum(0).to(bias.dtype), None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
    ) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
        """One call a member: each has weights of its own."""
        parts = []
        for member in range(info.batch_size):
            own = [
                tensor if dim is None else tensor.select(dim, member)
                for tensor, dim in zip((x, weight, bias), in_dims, strict=False)
            ]
            parts.append(_Fused.apply(*own, eps))  # type: ignore[no-untyped-call]
        return tuple(torch.stack(part) for part in zip(*parts, strict=True)), (0, 0, 0)


def _call(name: str, x: torch.Tensor, *arguments: Any) -> None:
    """Run a kernel; every tensor is contiguous (maps: channels last)."""
    kept = [t.float().contiguous() if _small(t) else t for t in arguments]
    call("norm_relu_pool", f"{name}_{_SUFFIX[x.dtype]}", x, *kept)


def _small(argument: Any) -> bool:
    """Whether it is a parameter vector (C,), which the kernel takes as float32."""
    return isinstance(argument, torch.Tensor) and argument.ndim == 1
