"""Well-formed files with entries of the wrong types: one message, wherever they are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dance import report
from dance.condensed.container import KIND
from dance.core.errors import DanceError
from dance.core.files import read_json, read_tensors, write_tensors
from e2e.command import TINY, command, done

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("forged") / "run"
    done("condense", "digits", *TINY, "--device=cpu", "--output", place)
    return place


def forge(path: Path, change: Any) -> None:
    """Change the header of a set, and give it the checksum that it then has."""
    tensors, header = read_tensors(path, KIND)
    change(header)
    write_tensors(path, tensors, header, KIND)


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
ENTRIES = ("notes", "config", "train_images", "label", "dataset", "data_fingerprint", "soft_labels",
           "seed", "version", "config_hash", "method")  # fmt: skip
FAST = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def copied(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(run, place)
    return place


@FAST
@given(st.sampled_from(ENTRIES), WRONG)
def test_provenance(run, tmp_path_factory, entry, value) -> None:
    place = copied(run, tmp_path_factory)
    path = place / "condensed.safetensors"
    forge(path, lambda header: header["provenance"].update({entry: value}))
    try:
        report.build(place)
    except DanceError as error:
        assert "condensed.safetensors" in str(error)
    for words in (("export", "--to=parquet", path, place / "out"), ("show", path)):
        outcome = command(*words)
        assert outcome.code in (0, 2) and "Traceback" not in outcome.err


SECTIONS = ("network", "experts", "evaluation", "source", "teacher", "networks", "labels", "data",
            "seed", "precision")  # fmt: skip


@FAST
@given(st.sampled_from(SECTIONS), WRONG)
def test_recorded_settings(run, tmp_path_factory, section, value) -> None:
    place = copied(run, tmp_path_factory)
    path = place / "condensed.safetensors"
    forge(path, lambda header: header["provenance"]["config"].update({section: value}))
    outcome = command("evaluate", path, "--epochs=0", "--networks=mlp", "--repeats=1")
    assert outcome.code == 2 and "Traceback" not in outcome.err


@FAST
@given(st.sampled_from(["environment.json", "costs.json", "config.yaml"]), st.data())
def test_files_of_a_run(run, tmp_path_factory, name, data) -> None:
    place = copied(run, tmp_path_factory)
    path = place / name
    plain = yaml.safe_load(path.read_text())
    key = data.draw(st.sampled_from(sorted(plain)))
    plain[key] = data.draw(WRONG)
    text = yaml.safe_dump(plain) if name.endswith("yaml") else json.dumps(plain)
    path.write_text(text)
    try:
        report.build(place)
    except DanceError as error:
        assert name in str(error)


@FAST
@given(st.data())
def test_scores(run, tmp_path_factory, data) -> None:
    place = copied(run, tmp_path_factory)
    rows = read_json(place / "scores.json")
    row = data.draw(st.sampled_from(rows))
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(WRONG)
    (place / "scores.json").write_text(json.dumps(rows))
    try:
        report.build(place)
    except DanceError as error:
        assert "scores.json is damaged or was edited" in str(error)
