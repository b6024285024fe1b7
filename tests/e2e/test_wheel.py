"""What gets built: the wheel holds the whole package, and works away from the checkout."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import dance
from e2e.command import TINY

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(*words: str | Path, **options: object) -> str:
    """Run a program; it must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    """The files of the repository, with those that git would add."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    words = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return [name for name in run(*words, cwd=ROOT).split("\0") if (ROOT / name).is_file()]


def checkout(place: Path) -> Path:
    """A copy of the repository, without what was built from it here."""
    for name in tracked():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions, the wheel made from the other one, as ``build`` does."""
    output = tmp_path_factory.mktemp("dist")
    copy = checkout(tmp_path_factory.mktemp("copy"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, copy)
    return output


@pytest.fixture(scope="module")
def source(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the source distribution unpacks to."""
    (archive,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from, with nothing in it but the wheel's content."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    """The files of a package, without those that its build adds."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith("libkernels-")
    }


def kernels(folder: Path) -> set[str]:
    """The files in ``folder/dance/kernels`` that the build added."""
    return {path.name for path in (folder / "dance" / "kernels").glob("libkernels-*")}


def names(*variants: str) -> set[str]:
    return {f"libkernels-{name}.{kind}" for name in variants for kind in ("so", "sha256")}


def chosen(folder: Path, **environment: str) -> tuple[str, str]:
    """The kernels that a new process takes from a package, and what it says of them."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from dance.kernels import selected; print(selected().name)"],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def test_the_source_distribution_holds_every_file_of_the_repository(source: Path) -> None:
    assert [name for name in tracked() if not (source / name).is_file()] == []
    assert not list(source.rglob("libkernels-*"))


def test_tests_run_in_the_source_distribution(source: Path, tmp_path: Path) -> None:
    """Also without the compiled kernels, which it does not hold."""
    words = ("tests/architecture", "tests/unit/objectives", "src/dance/core/format.py")
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    python = (sys.executable, "-P", "-m", "pytest", "-q", "-n", "0", f"--basetemp={tmp_path / 't'}")
    said = run(*python, *words, cwd=source, env=environment)
    assert re.search(r"\d{2,} passed", said)


def test_the_wheel_holds_every_file_of_the_package(unpacked: Path) -> None:
    assert files(unpacked / "dance") == files(ROOT / "src" / "dance")


def test_the_wheel_has_version_licence_and_command(unpacked: Path) -> None:
    (about,) = unpacked.glob("*.dist-info")
    metadata = Parser().parsestr((about / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Version"] == dance.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (about / "licenses" / "LICENSE").is_file()
    assert "dance = dance.__main__:main" in (about / "entry_points.txt").read_text(encoding="utf-8")


def test_the_wheel_condenses_away_from_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(unpacked),
        "DANCE_CACHE": str(tmp_path / "cache"),
    }
    python = (sys.executable, "-P")
    where = run(*python, "-c", "import dance; print(dance.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()) == unpacked / "dance" / "__init__.py"
    run(
        *python, "-m", "dance", "condense", "digits", "--output", "run", *TINY,
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_the_wheel_holds_a_library_for_each_instruction_set(wheel: Path, unpacked: Path) -> None:
    assert "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl")
    every = ("baseline", "avx2", "avx512", "avx512_bf16")
    every += ("amx",) if sys.platform == "linux" else ()
    built = every if platform.machine() == "x86_64" else every[:1]
    assert kernels(unpacked) == names(*built)
    assert chosen(unpacked)[0] in ("baseline", "avx2", "avx512")
    assert chosen(unpacked, DANCE_KERNELS="baseline") == ("baseline", "")


def test_without_a_compiler_the_installation_succeeds(tmp_path: Path) -> None:
    source, site = checkout(tmp_path / "source"), tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    environment = {**os.environ, "CC": "/nonexistent/cc"}
    run(*pip, "--no-build-isolation", "--target", site, source, env=environment)
    (about,) = site.glob("*.dist-info")
    assert "Tag: py3-none-any\n" in (about / "WHEEL").read_text(encoding="utf-8")
    assert kernels(site) == set() and (site / "dance" / "kernels" / "conv_block.c").is_file()
    name, message = chosen(site)
    assert name == "none: not built at the installation"
    assert message.count("the kernels were not built") == 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_a_checkout_builds_in_place_and_leaves_nothing_old_behind(tmp_path: Path) -> None:
    """Also where a variant cannot be compiled: the library of older sources must not stay."""
    source = checkout(tmp_path / "source")
    build = (sys.executable, "setup.py", "--quiet", "build_ext", "--inplace")
    run(*build, cwd=source)
    assert names("baseline") <= kernels(source / "src")
    assert not chosen(source / "src")[0].startswith("none")
    broken = source / "src" / "dance" / "kernels" / "conv_block.c"
    text = broken.read_text(encoding="utf-8")
    broken.write_text("#ifdef __AVX2__\n#error not for these\n#endif\n" + text, encoding="utf-8")
    run(*build, cwd=source)
    assert kernels(source / "src") == names("baseline")
    assert chosen(source / "src") == ("baseline", "")
