"""The method of docs/add-a-method.md, from outside the package, through all that there is."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from e2e.outside import ROOT, install, python


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the page's method as an installed distribution would."""
    text = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"<!-- file: moments\.py -->\n```python\n(.*?)^```$", text, re.M | re.S)
    (project,) = re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)
    described = tomllib.loads(project)["project"]
    place = tmp_path_factory.mktemp("outside")
    install(place, described["name"], "moments", module, described["entry-points"])
    return place


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
