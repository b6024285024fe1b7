"""Locations of sets: paths, schemes, and refusals that name what is near."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import dance
from dance.condensed import SetFile, load_set, locate
from dance.condensed.locations import RUN_FILE, zoo
from dance.core.errors import ArtifactError, ConfigError, DanceError

NAME = "digits-ipc1"


def test_a_run_directory_stands_for_its_set(tmp_path: Path) -> None:
    assert locate(tmp_path) == SetFile(tmp_path / RUN_FILE)
    assert locate(str(tmp_path / "x.safetensors")) == SetFile(tmp_path / "x.safetensors")
    found = locate(f"zoo:{NAME}")
    assert locate(found) is found


def test_a_set_of_the_zoo_records_where_it_was_found(tmp_path: Path) -> None:
    found = dance.load(f"zoo:{NAME}")
    assert found.provenance["found_at"] == f"zoo:{NAME}" == str(locate(f"zoo:{NAME}"))
    assert found.scores and all(found.was_scored_by(score) for score in found.scores)
    found.save(tmp_path / "copy.safetensors")
    assert load_set(tmp_path / "copy.safetensors").provenance["found_at"] == f"zoo:{NAME}"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("zoo:digits-ipc11", r"no zoo:digits-ipc11, .*did you mean .*'digits-ipc1'"),
        ("zoo:", "no zoo:, .*known: .*digits-ipc10"),
        ("zoo:../zoo/digits-ipc1", "no zoo:../zoo/digits-ipc1"),
        ("zo:digits-ipc1", r"zoo:NAME: got 'zo:digits-ipc1'.*did you mean 'zoo:'"),
    ],
)
def test_unknown_names_are_refused(location: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_set(location)


def test_files_that_are_called_like_a_scheme_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(locate(f"zoo:{NAME}").path, "zoo:mine")
    shutil.copy("zoo:mine", "other:mine")
    for location in ("./zoo:mine", Path("zoo:mine"), "other:mine"):
        assert "found_at" not in load_set(location).provenance
    with pytest.raises(ConfigError, match="no zoo:mine"):
        load_set("zoo:mine")


def test_a_file_that_is_dropped_is_one_of_the_zoo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = locate("zoo:digits-ipc10").path
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert zoo.names() == []
    shutil.copy(source, tmp_path / "mine.safetensors")
    facts = zoo.facts("mine")
    condensed = load_set("zoo:mine")
    assert (facts["data"], facts["ipc"], facts["images"]) == ("digits", 10, len(condensed.labels))
    assert facts["file_bytes"] == source.stat().st_size
    quick = next(score for score in condensed.scores if score.protocol == "quick-v1")
    assert facts["quick"]["mean"] == quick.last.mean
    assert facts["full"]["protocol"] == "dance-v1"
    bare = condensed.eight_bit()
    bare.provenance = {}
    bare.save(tmp_path / "mine.safetensors")
    facts = zoo.facts("mine")
    assert (facts["data"], facts["method"], facts["page"]) == ("", "", "")
    assert facts["full"] is facts["quick"] is None
    (tmp_path / "mine.safetensors").write_bytes(b"no set")
    with pytest.raises(DanceError, match=r"mine\.safetensors"):
        zoo.facts("mine")


def test_what_is_missing_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no condensed set"):
        load_set(tmp_path / "none.safetensors")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ArtifactError, match="its run is not finished"):
        load_set(tmp_path / RUN_FILE)


def test_unfinished_work_lies_beside_a_file_of_the_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))
    mine = SetFile(tmp_path / "x.safetensors")
    assert mine.beside("work", "ab") == tmp_path / "x.safetensors.work"
    assert locate(f"zoo:{NAME}").beside("work", "ab") == tmp_path / "cache" / "work" / "ab"


def test_the_stored_pixels_are_small_and_in_8_bits() -> None:
    for name in zoo.names():
        condensed = load_set(f"zoo:{name}")
        assert condensed.pixel_range is not None and condensed.pixels.dtype == torch.float32
        assert zoo.facts(name)["file_bytes"] < 1_000_000
