"""The machine: what it is, and what it reaches at its best in multiplying and in copying."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch

from dance import __version__
from dance.core import device as devices
from dance.core.rng import keyed_generator
from dance.kernels.library import library

_SIDES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
"""Matrices that are tried; the fastest counts."""
_COPY_BYTES = 256 << 20
"""Larger than the caches."""
_SECONDS = 0.1
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> dict[str, Any]:
    """What the measurements depend on, in words and numbers."""
    return {
        "device": devices.description(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dance": __version__,
        "compiled_kernels": device.type == "cpu" and library("norm_relu_pool") is not None,
        "processor_capability": torch.backends.cpu.get_cpu_capability(),
    }


def ceilings(device: torch.device) -> dict[str, dict[str, float]]:
    """The best that was seen of matrix products and copies.

    Returns:
        By dtype ``flops`` (operations per second of the fastest product of two square matrices),
        ``side`` of those, and ``copy_bytes`` (bytes read plus bytes written, per second).
    """
    found = {}
    for name, dtype in _DTYPES.items():
        products = {side: _product(side, dtype, device) for side in _SIDES[device.type]}
        side = max(products, key=products.__getitem__)
        found[name] = {
            "flops": products[side],
            "side": side,
            "copy_bytes": _copy(dtype, device),
        }
    return found


def _product(side: int, dtype: torch.dtype, device: torch.device) -> float:
    generator = keyed_generator(0, "ceiling", side)
    left, right = (torch.randn(side, side, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * side**3 / _fastest(lambda: torch.mm(left, right, out=out), device)


def _copy(dtype: torch.dtype, device: torch.device) -> float:
    source = torch.ones(_COPY_BYTES // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / _fastest(lambda: target.copy_(source), device)


def _fastest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of as many calls as fit in a moment, after one to warm up."""
    call()
    wait(device)
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while True:
        started = time.perf_counter()
        call()
        wait(device)
        now = time.perf_counter()
        best = min(best, now - started)
        if now > end:
            return best
