"""Compile the kernels, once for each instruction set; all else is in pyproject.toml.

A library that cannot be compiled (no C compiler, or one that lacks the instructions) is left out
with a warning, and the installation goes on: the package works without it. Beside each library goes
a list of SHA-256 sums, which the package checks before it loads the library.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

FOLDER = Path("src/dance/kernels")
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")
INSTRUCTIONS: dict[str, list[str]] = {"baseline": []}
"""Flags of each variant: those of the operations that PyTorch runs on the same processor."""
if platform.machine() in ("x86_64", "AMD64"):
    # named, because some distributions build compilers whose default is above the baseline
    INSTRUCTIONS["baseline"] = ["-march=x86-64"]
    INSTRUCTIONS["avx2"] = ["-march=x86-64", "-mtune=haswell", "-mavx2", "-mfma"]
    INSTRUCTIONS["avx512"] = [
        *INSTRUCTIONS["avx2"],
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
    ]
    INSTRUCTIONS["avx512_bf16"] = [*INSTRUCTIONS["avx512"], "-mavx512bf16", "-DBFLOAT16"]
    if sys.platform == "linux":  # which is asked for the matrix unit
        INSTRUCTIONS["amx"] = [
            *INSTRUCTIONS["avx512_bf16"],
            *("-mamx-tile", "-mamx-bf16", "-DMATRIX_UNIT"),
        ]


def compiler() -> list[str]:
    """``$CC``; without it the compiler that built Python, or else one that is here."""
    own = os.environ.get("CC")
    names = [own] if own else [sysconfig.get_config_var("CC") or "cc", "cc", "gcc", "clang"]
    for words in map(shlex.split, names):
        if shutil.which(words[0]):
            return words
    raise CompileError(f"no C compiler found ({', '.join(names)})")


class BuildKernels(build_ext):
    """Plain shared libraries of a known name, compiled with these flags and no others."""

    def get_ext_filename(self, fullname: str) -> str:
        """The path of the library inside the package."""
        *package, variant = fullname.split(".")
        return str(Path(*package, f"libkernels-{variant}.so"))

    def build_extension(self, ext: Extension) -> None:
        """Compile one variant and note the sums of what it was made from."""
        library = Path(self.get_ext_fullpath(ext.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        sums = library.with_suffix(".sha256")
        for older in (library, sums):  # neither must pass for this one
            older.unlink(missing_ok=True)
        paths = [*ext.sources, "-o", str(library), "-lm"]
        try:
            subprocess.run([*compiler(), *FLAGS, *ext.extra_compile_args, *paths], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(str(error)) from error
        made = [library, *map(Path, [*ext.sources, *ext.depends])]
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
        sums.write_text("".join(lines), encoding="utf-8")

    def copy_extensions_to_source(self) -> None:
        """Put the libraries beside their sources, where an editable installation looks for them."""
        for old in FOLDER.glob("libkernels-*"):
            old.unlink()
        for new in Path(self.build_lib, "dance", "kernels").glob("libkernels-*"):
            shutil.copy(new, FOLDER)


class PlatformWheel(bdist_wheel):
    """A wheel for every Python, since the libraries know nothing of it, and for this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Tags of Python, ABI and platform: any platform, if no library could be compiled."""
        built = Path(self.get_finalized_command("build").build_lib).rglob("libkernels-*.so")
        return "py3", "none", super().get_tag()[2] if any(built) else "any"


setup(
    ext_modules=[
        Extension(
            f"dance.kernels.{variant}",
            [str(path) for path in sorted(FOLDER.glob("*.c"))],
            depends=[str(path) for path in sorted(FOLDER.glob("*.h"))],
            extra_compile_args=flags,
            optional=True,
        )
        for variant, flags in INSTRUCTIONS.items()
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)
