"""The page of a run over its iterations, and the expert's view: drawn from what the run holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from dance.condensed import load_set
from dance.condensed.insight import Insight
from dance.core.errors import ArtifactError
from dance.report import build
from dance.report.film import shoot
from dance.report.insight import view
from dance.report.record import read_run
from unit.report.test_page import read


@pytest.fixture
def filmed(tmp_path, write_run):
    """A run of 40 steps with snapshots after 10 and 40."""
    place = write_run(tmp_path / "run", factor=1)
    config = place / "config.yaml"
    config.write_text(config.read_text() + "options: {iterations: 40}\n")
    final = load_set(place)
    for step, pixels in ((10, final.pixels / 2), (40, final.pixels)):
        replace(final, pixels=pixels, scores=[]).save(
            place / "snapshots" / f"{step:06}.safetensors"
        )
    return place


@pytest.fixture
def seen(tmp_path, write_run):
    """A run with an expert's view of its 20 images, of which two are taken for class 0."""
    place = write_run(tmp_path / "seen", factor=1)
    condensed = load_set(place)
    labels = condensed.targets()
    predicted = labels.clone()
    predicted[4:6] = 0
    shown = torch.tensor([0, 4])
    Insight(
        expert=1, real_images=1437, train_images=1437, set_digest=condensed.digest(),
        confidence=torch.full((20,), 0.25), predicted=predicted, shown=shown,
        rows=torch.tensor([[7, 8], [9, 10]]), labels=torch.tensor([[0, 0], [2, 3]]),
        pictures=torch.zeros(2, 2, 1, 8, 8, dtype=torch.uint8),
    ).save(place / "insight.safetensors")  # fmt: skip
    return place


def test_frames_are_the_initial_set_the_snapshots_and_the_finished_one(filmed):
    shots = shoot(read_run(filmed))
    first, second, last = (shot.text for shot in shots)
    assert first.startswith("step 0: 7") and second == "step 10"
    assert last.startswith("step 40: 8")
    wanted = load_set(filmed / "snapshots" / "000010.safetensors").to_uint8()[:2]
    assert torch.equal(shots[1].sample.images[0], wanted)
    page = read(filmed)
    assert "3 of 3 stored sets; 10 of 10 classes, 2 of 2 images of each" in page.text
    with Image.open(filmed / "snapshots.gif") as film:
        times = []
        for number in range(film.n_frames):
            film.seek(number)
            times.append(film.info["duration"])
        assert times == [250, 250, 2000] and film.info["loop"] == 0


def test_a_damaged_snapshot_is_named(filmed):
    (filmed / "snapshots" / "000010.safetensors").write_bytes(b"no set")
    with pytest.raises(ArtifactError, match="000010"):
        build(filmed)


def test_a_run_without_snapshots_has_no_script_and_no_animation(tmp_path, write_run):
    page = read(write_run(tmp_path / "run"))
    assert not page.all("script") and not (tmp_path / "run" / "snapshots.gif").exists()


def test_the_view_of_an_expert_names_what_it_takes_for_another_class(seen):
    page = read(seen)
    assert "Expert 1 assigns 18 of 20 decoded images to their class" in page.text
    assert "is 25.0 %." in page.text and "among all 1 437 training images" in page.text
    found = view(read_run(seen))
    (zero, (right,)), (two, (wrong,)) = found.classes
    assert (zero, right.predicted, right.alien) == ("zero", "", 0)
    assert (two, wrong.predicted, wrong.alien) == ("two", "zero", 1)
    assert wrong.names == "two (image 9), three (image 10)"
    assert "taken for zero" in page.text and "1 of 2 of another class" in page.text


def test_a_view_of_another_set_is_not_shown(seen):
    final = load_set(seen)
    replace(final, pixels=final.pixels / 2, scores=[]).save(seen / "condensed.safetensors")
    (seen / "scores.json").unlink()
    page = read(seen)
    assert "insight.safetensors is of another set" in page.text
    assert "Expert 1" not in page.text


def test_a_damaged_view_is_named(seen):
    (seen / "insight.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="insight"):
        build(seen)
