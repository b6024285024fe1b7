"""The digest of the code: the same for the same sources, another once a result could change."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dance
from dance.core.code import code_digest

PROGRAM = "from dance.core.code import code_digest; print(code_digest())"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the sources, elsewhere."""
    source = Path(dance.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(source, tmp_path / "copy" / "dance", ignore=ignored))


def digest_of(package: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=package.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_changes_it_and_what_does_not(package: Path) -> None:
    held = digest_of(package)
    assert len(held) == 16
    for beside in ("cli/condense.py", "report/page.py", "py.typed", "report/style.css"):
        with (package / beside).open("a") as file:
            file.write("\n# another line\n")
    assert digest_of(package) == held, "these decide no result"
    found = {held}
    for decides in ("methods/dance.py", "kernels/norm_relu_pool.c", "core/rng.py"):
        with (package / decides).open("a") as file:
            file.write("\n")
        found.add(digest_of(package))
    (package / "data" / "new.py").touch()
    found.add(digest_of(package))
    assert len(found) == 5


def test_it_takes_no_time() -> None:
    code_digest.cache_clear()
    started = time.perf_counter()
    code_digest()
    assert time.perf_counter() - started < 0.2, "about 0.01 s on an idle machine"
