"""Which library is loaded: the one for the processor, whole, of these sources, or none at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dance.core.errors import ArtifactError, ConfigError
from dance.kernels import library as loading
from dance.kernels import norm_relu_pool
from dance.kernels.library import VARIANTS, selected

pytestmark = pytest.mark.usefixtures("built", "fresh")

ENDS = (
    "install DANCE again where there is a C compiler that knows these instructions "
    "(in a checkout: python setup.py build_ext --inplace)"
)


@pytest.fixture
def folder(built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installed libraries and their sources, to be harmed."""
    installed = Path(loading.__file__).parent
    for pattern in ("libkernels-*", "*.[ch]"):
        for path in installed.glob(pattern):
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(loading, "_FOLDER", tmp_path)
    return tmp_path


def truncate(library: Path) -> None:
    library.write_bytes(library.read_bytes()[: library.stat().st_size // 2])


def flip(library: Path) -> None:
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


def empty(library: Path) -> None:
    library.write_bytes(b"")


def lose_sums(library: Path) -> None:
    library.with_suffix(".sha256").unlink()


def spoil_sums(library: Path) -> None:
    library.with_suffix(".sha256").write_bytes(b"\xff\x00 garbage")


def replace(library: Path) -> None:
    """No library, but with the right sum of what it is."""
    sums, old = library.with_suffix(".sha256"), library.read_bytes()
    library.write_bytes(b"garbage")
    digests = [hashlib.sha256(content).hexdigest() for content in (old, b"garbage")]
    sums.write_text(sums.read_text().replace(*digests))


HARM = [truncate, flip, empty, lose_sums, spoil_sums, replace]


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_library_is_never_loaded(
    harm, folder: Path, built: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    """The next one serves, and a line says so; asked for by name, it is refused."""
    harm(folder / f"libkernels-{built}.so")
    assert selected().name != built
    message = capsys.readouterr().err.splitlines()
    assert f"libkernels-{built}.so" in message[0] and message[0].endswith(ENDS)
    assert len(message) == (1 if selected().loaded else 2)
    selected.cache_clear()
    monkeypatch.setenv("DANCE_KERNELS", built)
    with pytest.raises(ArtifactError, match=rf"libkernels-{built}.so (must be what|cannot be)"):
        selected()


def test_without_a_whole_one_pytorch_serves(folder: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    for path in folder.glob("*.so"):
        truncate(path)
    assert selected() == ("none: the built libraries cannot be used", None)
    assert "run in PyTorch's operations, several times slower" in capsys.readouterr().err


def test_libraries_of_other_sources_are_not_used(folder: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    with (folder / "conv_block.c").open("a") as file:
        file.write("\n")
    assert selected().loaded is None
    assert "conv_block.c has changed since" in capsys.readouterr().err
    (folder / "new.c").touch()
    selected.cache_clear()
    assert selected().loaded is None


def test_where_none_was_built_it_is_said_once(
    folder: Path, built: str, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    for path in folder.glob("libkernels-*"):
        path.unlink()
    x = torch.linspace(-1, 1, 32).view(1, 2, 4, 4)
    for _ in range(2):
        norm_relu_pool(x, torch.ones(2), torch.zeros(2), 1e-5)
    assert selected().name == "none: not built at the installation"
    err = capsys.readouterr().err
    assert err == (
        "the kernels were not built: ConvNets run in PyTorch's operations, several times slower; "
        f"{ENDS}\n"
    )
    selected.cache_clear()
    monkeypatch.setenv("DANCE_KERNELS", built)
    with pytest.raises(ArtifactError, match=rf"the {built} kernels must have been built: no "):
        selected()


@pytest.mark.parametrize(
    ("requested", "says"),
    [
        ("avx51", "avx512, avx2, baseline or 0: got 'avx51'; did you mean 'avx512'"),
        ("sse", "got 'sse'; known: 0, avx2, avx512, baseline"),
        ("1", "got '1'; known: "),
    ],
)
def test_an_unknown_variant_is_refused(
    requested: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_KERNELS", requested)
    with pytest.raises(ConfigError) as refusal:
        selected()
    assert "DANCE_KERNELS must be " in str(refusal.value) and says in str(refusal.value)


def test_zero_is_none(monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DANCE_KERNELS", "0")
    assert selected() == ("none: switched off by DANCE_KERNELS=0", None)
    assert capsys.readouterr().err == ""


PROGRAM = """
import os
from dance.core.errors import ConfigError
from dance.kernels.library import VARIANTS, selected
print(selected().name)
for name in VARIANTS:
    selected.cache_clear()
    os.environ["DANCE_KERNELS"] = name
    try:
        print(selected().name)
    except ConfigError as error:
        print(error)
"""


def test_a_processor_gets_no_instructions_that_it_lacks(built: str) -> None:
    if built != VARIANTS[0]:
        pytest.skip("needs a processor with AVX-512, of which something can be hidden")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "avx2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "avx2",
        "DANCE_KERNELS=avx512 needs a processor with these instructions: PyTorch finds AVX2 here; "
        "use avx2 or baseline, or leave DANCE_KERNELS out",
        "avx2",
        "baseline",
    ]
