"""Compile the C sources of this package, once per machine, with its C compiler."""

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
from dance.core.files import cache_dir, write_atomic
from dance.core.progress import log

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
_LIBRARY = ("-fPIC", "-shared")
_TIMEOUT = 120
"""Seconds that the compiler may take."""

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_operations() -> Iterator[None]:
    """In this context, networks run in PyTorch's operations, which have second derivatives."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def library(name: str) -> ctypes.CDLL | None:
    """The compiled ``<name>.c``; None within :func:`plain_operations`, or if it cannot be built."""
    return None if _plain.get() else compiled(name)


@functools.cache
def compiled(name: str) -> ctypes.CDLL | None:
    """Compile ``<name>.c`` and load it; return None if that is impossible.

    The library is stored in the cache directory, under a hash of source, compiler, flags and
    processor. ``DANCE_KERNELS=0`` switches it off. Without it, the same operations run in PyTorch,
    several times slower, and a message is logged once.
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
        built = cache_dir() / "kernels" / file
        if not built.exists():
            write_atomic(built, lambda path: _compile(compiler, source, path))
        return ctypes.CDLL(str(built))
    except (ArtifactError, OSError, subprocess.SubprocessError) as error:
        log(f"the C kernels cannot be built ({error}): the networks run in plain PyTorch, slower")
        return None


def call(source: str, name: str, *arguments: Any) -> None:
    """Call a function of a compiled library; the shapes of its arguments are not checked.

    Args:
        source: name of the library; the caller has made sure that it could be compiled.
        name: of the function, which returns nothing.
        arguments: tensors and None are passed as pointers, integers as int64, and ctypes values as
            they are.
    """
    compiled_library = compiled(source)
    assert compiled_library is not None
    function = getattr(compiled_library, name)
    function.restype = None
    function(*map(_to_c, arguments))


def _to_c(argument: torch.Tensor | int | ctypes.c_float | None) -> Any:
    """Convert an argument to its ctypes value."""
    if argument is None:
        return ctypes.c_void_p()
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def _compile(compiler: str, source: str, path: Path) -> None:
    command = [compiler, *_FLAGS, *_LIBRARY, "-x", "c", "-", "-o", str(path), "-lm"]
    subprocess.run(
        command, input=source.encode(), check=True, capture_output=True, timeout=_TIMEOUT
    )


def _processor() -> str:
    """A description of the processor, on which the code for ``-march=native`` depends."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.machine()} {platform.processor()}"
    lines = info.read_text(encoding="utf-8").splitlines()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    )
