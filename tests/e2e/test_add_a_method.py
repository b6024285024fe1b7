"""The method of docs/add-a-method.md, from outside the package, through all that there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the page's method as an installed distribution would."""
    text = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"<!-- file: moments\.py -->\n```python\n(.*?)^```$", text, re.M | re.S)
    (project,) = re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)
    described = tomllib.loads(project)["project"]
    place = tmp_path_factory.mktemp("outside")
    (place / "moments.py").write_text(module, encoding="utf-8")
    info = place / f"{described['name'].replace('-', '_')}-{described['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {described['version']}\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    groups = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in described["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(groups, encoding="utf-8")
    return place


def python(outside: Path, *words: str, timeout: int = 240) -> str:
    path = os.pathsep.join([str(outside), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_page_keeps_its_promise_of_one_short_file(outside: Path) -> None:
    code = [
        line
        for line in (outside / "moments.py").read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    assert len(code) < 65


def test_it_is_listed_run_scored_and_reported(outside: Path, tmp_path: Path) -> None:
    listed = json.loads(python(outside, "-m", "dance", "list", "methods", "--json"))
    assert "moments" in json.dumps(listed)
    place = tmp_path / "run"
    words = (
        f"condense digits --ipc 1 --method moments --options.iterations 20 --output {place} "
        "--epochs 2 --repeats 1 --evaluation.baselines random initial --device cpu"
    )
    assert "report.html" in python(outside, "-m", "dance", *words.split())
    scores = json.loads((place / "scores.json").read_text())
    assert {score["subject"] for score in scores} == {"condensed", "random", "initial"}
    assert len((place / "metrics.jsonl").read_text().splitlines()) == 20
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "Moments" in page


@pytest.mark.slow
def test_it_passes_the_battery(outside: Path) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-n0", "-k", "moments")
    printed = python(outside, "-m", "pytest", *options, "tests/battery")
    found = re.search(r"(\d+) passed", printed)
    assert found is not None
    assert int(found[1]) >= 10
    assert "skipped" not in printed
