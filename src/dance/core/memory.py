"""Amounts of memory: read from text, written as text, measured in this process."""

from __future__ import annotations

import ctypes
import platform
import re
import resource
from pathlib import Path

import torch

from dance.core import device as devices
from dance.core.errors import ConfigError

_PAGE = resource.getpagesize()
_UNITS = {
    "": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
    "b": 1,
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


def in_bytes(text: str) -> int:
    """Bytes of an amount such as ``8GB`` (10^9 each) or ``512MiB`` (2^20 each).

    Raises:
        ConfigError: the text is not such an amount.

    >>> in_bytes("8GB"), in_bytes("1.5 MiB"), in_bytes("4096")
    (8000000000, 1572864, 4096)
    """
    found = _AMOUNT.fullmatch(text.lower())
    if found is None or found[2] not in _UNITS or not 0 < float(found[1]) < 1e18:
        raise ConfigError(
            f"memory_limit must be a number above 0 with a unit, such as 8GB or 512MiB: got "
            f"{text!r}"
        )
    return int(float(found[1]) * _UNITS[found[2]])


def amount(count: float) -> str:
    """A number of bytes as text with a unit.

    >>> amount(8.25e9), amount(2.5e6), amount(300)
    ('8.2 GB', '2.5 MB', '300 bytes')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{int(count)} bytes"


def in_use(device: torch.device) -> int:
    """Bytes in use now: of the device's allocator for CUDA, of the process for the CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    resident = Path("/proc/self/statm")
    if not resident.exists():
        return devices.peak_memory(device)
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that the allocator keeps is not in use
    return int(resident.read_text().split()[1]) * _PAGE


def free(device: torch.device) -> int:
    """Free memory in bytes, including what the allocator has cached."""
    cached = 0
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return devices.available_memory(device) + cached
