"""Compiled kernels for the CPU, each with the same operation in plain PyTorch beside it."""

from dance.kernels.conv_block import conv_block
from dance.kernels.dual_block import Weights, dual_block, dual_fits
from dance.kernels.library import plain_operations
from dance.kernels.norm_relu_pool import norm_relu_pool

__all__ = [
    "Weights",
    "conv_block",
    "dual_block",
    "dual_fits",
    "norm_relu_pool",
    "plain_operations",
]
