"""Compiling our C sources once per machine, with the C compiler that is there."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from dance.core.errors import ArtifactError
from dance.core.files import write_atomic
from dance.core.places import cache_dir
from dance.core.progress import log

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
_LIBRARY = ("-fPIC", "-shared")
_SECONDS = 120

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_operations() -> Iterator[None]:
    """Run the networks of this block in PyTorch's operations, which have second derivatives."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def library(name: str) -> ctypes.CDLL | None:
    """The compiled form of ``<name>.c`` in this package, or none where it is not to be used."""
    return None if _plain.get() else compiled(name)


@functools.cache
def compiled(name: str) -> ctypes.CDLL | None:
    """Compile ``<name>.c``; none where that cannot be done.

    The library is kept in the cache directory under a hash of source, flags and processor.
    ``DANCE_KERNELS=0`` switches it off. Without it the same operations run in PyTorch, several
    times slower; that is said once.
    """
    if os.environ.get("DANCE_KERNELS") == "0":
        return None
    names = (os.environ.get("CC", "cc"), "gcc", "clang")
    compiler = next((path for name in names if (path := shutil.which(name))), None)
    if compiler is None:
        log("no C compiler found (cc): the networks run in plain PyTorch, several times slower")
        return None
    source = resources.files("dance.kernels").joinpath(f"{name}.c").read_text(encoding="utf-8")
    text = "\0".join([source, compiler, *_FLAGS, _processor()])
    try:
        file = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
        place = cache_dir() / "kernels" / file
        if not place.exists():
            write_atomic(place, lambda path: _compile(compiler, source, path))
        return ctypes.CDLL(str(place))
    except (ArtifactError, OSError, subprocess.SubprocessError) as error:
        log(f"the C kernels cannot be built ({error}): the networks run in plain PyTorch, slower")
        return None


def call(source: str, name: str, *arguments: Any) -> None:
    """Run a function of a compiled library on raw memory.

    Args:
        source: name of the library, which must be there.
        name: of the function; it returns nothing.
        arguments: tensors and None go as pointers, integers as int64, ctypes values as they are.
    """
    found = compiled(source)
    assert found is not None
    function = getattr(found, name)
    function.restype = None
    function(*map(_raw, arguments))


def _raw(argument: torch.Tensor | int | ctypes.c_float | None) -> Any:
    """What C receives."""
    if argument is None:
        return ctypes.c_void_p()
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def _compile(compiler: str, source: str, path: Path) -> None:
    command = [compiler, *_FLAGS, *_LIBRARY, "-x", "c", "-", "-o", str(path), "-lm"]
    subprocess.run(
        command, input=source.encode(), check=True, capture_output=True, timeout=_SECONDS
    )


def _processor() -> str:
    """What ``-march=native`` depends on."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.machine()} {platform.processor()}"
    lines = info.read_text(encoding="utf-8").splitlines()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    )
