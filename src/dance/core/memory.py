"""Amounts of memory: read from text, written as text, measured in this process."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import re
import resource
from pathlib import Path

import torch

from dance.core import device as devices
from dance.core.errors import ConfigError
from dance.core.format import plain, size

_PAGE = resource.getpagesize()
_GUESS = 4 << 30
"""Bytes that are assumed to be free on systems without /proc/meminfo."""
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.M)
_FILES = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.M)
_CGROUPS = {
    "": ("", "memory.max", "memory.current"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""By controllers of a line of /proc/self/cgroup: mount point, and files of limit and usage."""
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
    """A number of bytes as text with a unit, for messages."""
    return plain(size(int(count)))


def trim() -> None:
    """Return freed memory that the allocator keeps to the system, as it is not in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def in_use(device: torch.device) -> int:
    """Bytes in use now: of the device's allocator for CUDA, of the process for the CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    resident = Path("/proc/self/statm")
    if not resident.exists():
        return devices.peak_memory(device)
    trim()
    return int(resident.read_text().split()[1]) * _PAGE


def free(device: torch.device) -> int:
    """Free memory in bytes, including what the allocator has cached.

    Of the CPU it is what the machine can give without swapping, or less in a container with a
    limit.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + cached)
    return min([_of_the_machine(), *container_memory()])


def _of_the_machine() -> int:
    """Bytes that the kernel counts as available; a guess where it does not say."""
    meminfo = Path("/proc/meminfo")
    found = _AVAILABLE.search(meminfo.read_text()) if meminfo.exists() else None
    return int(found[1]) * 1024 if found else _GUESS


def container_memory(root: Path = Path("/")) -> list[int]:
    """Bytes left under each limit of the control groups of this process; none without a limit.

    Groups of version 1 and 2 are read, with those that contain them. Pages of files that can be
    dropped count as free.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    listing = root / "proc/self/cgroup"
    if not listing.exists():
        return []
    found = []
    for line in listing.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in _CGROUPS:
            place, limit, usage = _CGROUPS[controllers]
            base = root / "sys/fs/cgroup" / place
            inner = base / path.lstrip("/")
            groups = [inner, *inner.parents[: len(inner.parts) - len(base.parts)]]
            for group in groups:
                with contextlib.suppress(OSError, ValueError):  # unlimited is "max" in version 2
                    most, used = (int((group / name).read_text()) for name in (limit, usage))
                    files = _FILES.search((group / "memory.stat").read_text())
                    found.append(max(0, most - used + (int(files[1]) if files else 0)))
    return found
