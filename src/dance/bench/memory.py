"""Peak memory of one contestant in a process of its own, where no other has been before it.

``python -m dance.bench REQUEST ANSWER`` calls :func:`answer`; :func:`measure` starts it.
"""

from __future__ import annotations

import ctypes
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dance.bench.entries import REFERENCE, Engine, staged
from dance.bench.machine import wait
from dance.bench.reference import Reference
from dance.core import device as devices
from dance.core.config import to_plain
from dance.core.files import read_json
from dance.core.progress import log
from dance.engine import RunConfig
from dance.recipes.build import build_run

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Word of proc(5) that sets the highest resident size back to the present one."""
_REFERENCE_CLASSES = 2
"""The literal loop holds one class at a time; a second one shows what it leaves behind."""


def measure(config: RunConfig, contestant: str) -> dict[str, Any]:
    """Memory of the first step of a contestant.

    Args:
        config: of the run.
        contestant: ``reference``, or anything else for the engine with this configuration.

    Returns:
        ``peak_bytes`` of the whole process (CPU) or of the allocator (CUDA), ``step_bytes`` of it
        that the step took beyond what lay there before it, and ``ready_seconds`` from the start of
        the process until before that step; all none where the process failed, which is said.
    """
    request = {
        "config": to_plain(config),
        "contestant": contestant,
        "threads": torch.get_num_threads(),
        "started": time.time(),
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "request.json", Path(folder) / "answer.json"]
        paths[0].write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "dance.bench", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return dict(read_json(paths[1]))
    reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    log(f"the memory of {contestant} could not be measured: {reason[0]}")
    return {"peak_bytes": None, "step_bytes": None, "ready_seconds": None}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`measure` returns; to be called once in a process."""
    torch.set_num_threads(request["threads"])
    context, task = staged(build_run(request["config"]))
    step: Callable[[int], object]
    if request["contestant"] == REFERENCE:
        loop = Reference(task, context.method.config)
        step = lambda number: loop.step(number, _REFERENCE_CLASSES)  # noqa: E731
    else:
        step = Engine.of(context, task).stepper()
    ready = time.time() - request["started"]
    before = _before(context.device, task.train.images)
    step(0)
    wait(context.device)
    peak = _peak(context.device)
    return {
        "peak_bytes": peak,
        "step_bytes": None if before is None else peak - before,
        "ready_seconds": ready,
    }


def _before(device: torch.device, images: torch.Tensor) -> int | None:
    """Bytes held now, from where the peak is counted anew; none where that cannot be told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    images.sum()  # a memory-mapped file counts when its pages are touched
    if sys.platform != "linux" or not _CLEAR.exists():
        return None
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    return _resident("VmRSS")


def _peak(device: torch.device) -> int:
    if device.type == "cpu" and _STATUS.exists():
        return _resident("VmHWM")
    return devices.peak_memory(device)


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0
