"""What gets built: the wheel holds the whole package, and works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as ``python -m build`` does."""
    copy, output = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    shutil.copytree(
        ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, copy)
    assert len(list(output.glob("*.tar.gz"))) == 1
    (built,) = output.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from, with nothing in it but the wheel's content."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_holds_every_file_of_the_package(unpacked: Path) -> None:
    assert files(unpacked / "dance") == files(ROOT / "src" / "dance")


def test_the_wheel_has_version_licence_and_command(unpacked: Path) -> None:
    (about,) = unpacked.glob("*.dist-info")
    metadata = Parser().parsestr((about / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Version"] == dance.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (about / "licenses" / "LICENSE").is_file()
    assert "dance = dance.cli.main:main" in (about / "entry_points.txt").read_text(encoding="utf-8")


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
