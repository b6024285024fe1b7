"""Compiled kernels for the CPU, each with the same operation in plain PyTorch beside it."""

from dance.kernels.norm_relu_pool import norm_relu_pool

__all__ = ["norm_relu_pool"]
