"""Instance norm, ReLU and 2x2 average pooling as one operation.

On a CPU, these three operations take more time than the convolutions of a ConvNet if each of them
reads and writes all maps. The kernel reads the maps once, and saves only means and reciprocal
standard deviations for the backward pass.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch.nn import functional

from dance.kernels.autograd import Compiled, FirstDerivatives
from dance.kernels.library import call, in_memory, library

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
    if _supports(x, weight, bias) and library() is not None:
        return _Fused.apply(x, weight, bias, eps)[0]  # type: ignore[no-any-return,no-untyped-call]
    return plain(x, weight, bias, eps)


def _supports(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> bool:
    """Whether the kernel can read these; what does not fit together is left to PyTorch."""
    if not in_memory(x, weight, bias) or x.ndim != 4 or x.dtype not in _SUFFIX:
        return False
    return weight.shape == bias.shape == x.shape[1:2]


def plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """:func:`norm_relu_pool` in PyTorch's operations, for every device and dtype."""
    y = functional.group_norm(x, x.shape[1], weight.to(x.dtype), bias.to(x.dtype), eps)
    return functional.avg_pool2d(functional.relu_(y), 2)


class _Fused(Compiled):
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
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        return *_Gradients.of(gradient, *ctx.saved_tensors), None


class _Gradients(FirstDerivatives):
    """The gradients of what :class:`_Fused` is a function of."""

    @staticmethod
    def forward(
        gradient: torch.Tensor,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        rstd: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, c, h, w = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        gx = torch.empty_like(x)
        gw, gb = (torch.empty(n, c) for _ in range(2))
        _call("backward", x, weight, bias, mean, rstd, gradient, gx, gw, gb, n, h, w, c)
        return gx, gw.sum(0).to(weight.dtype), gb.sum(0).to(bias.dtype)


def _call(name: str, x: torch.Tensor, *arguments: Any) -> None:
    """Call the kernel for the dtype of ``x``; maps must be contiguous with channels last."""
    converted = [t.float().contiguous() if _is_vector(t) else t for t in arguments]
    call(f"{name}_{_SUFFIX[x.dtype]}", x, *converted)


def _is_vector(argument: Any) -> bool:
    """Whether it is a parameter vector (C,), which the kernel reads as float32."""
    return isinstance(argument, torch.Tensor) and argument.ndim == 1
