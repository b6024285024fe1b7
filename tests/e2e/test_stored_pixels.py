"""What a run stores is what it counts and scores: 8 bits a pixel, or float32 where it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import dance
from dance.core.files import read_json
from e2e.command import TINY, command, done


def run(place: Path, *words: str) -> tuple[Path, torch.Tensor]:
    """A run of three steps: its set's file, and the pixels in it."""
    done("condense", "digits", *TINY, "--device=cpu", "--output", place, *words)
    path = place / "condensed.safetensors"
    with safe_open(path, framework="pt") as file:
        return path, file.get_tensor("pixels")


def stored_bytes(path: Path) -> list[int]:
    """The storage that the scores of the set state."""
    rows = [row for row in read_json(path.parent / "scores.json") if row["subject"] == "condensed"]
    return [row["storage_bytes"] for row in rows]


def test_a_run_stores_what_it_counts(tmp_path: Path) -> None:
    path, pixels = run(tmp_path / "run")
    assert pixels.dtype == torch.uint8
    assert stored_bytes(path) == [pixels.numel()]
    snapshot, _ = run(tmp_path / "snapped", "--snapshots=3")
    kept = dance.load(snapshot.parent / "snapshots" / "000003.safetensors")
    assert kept.pixel_range is not None


def test_float32_where_it_is_asked(tmp_path: Path) -> None:
    path, pixels = run(tmp_path / "run", "--store=float32")
    assert pixels.dtype == torch.float32
    assert stored_bytes(path) == [4 * pixels.numel()]
    rounded = dance.load(run(tmp_path / "rounded")[0])
    assert torch.equal(dance.load(path).eight_bit().pixels, rounded.pixels)


def test_whitened_pixels_are_float32(tmp_path: Path) -> None:
    words: tuple[Any, ...] = ("--method=mtt", "--whitening=zca", "--options.iterations=1")
    place = tmp_path / "run"
    done("condense", "digits", "--config=quick", "--ipc=1", "--device=cpu", "--epochs=1",
         "--repeats=1", "--trajectories.epochs=5", "--trajectories.count=1", "--network.width=16",
         "--evaluation.baselines=", "--output", place, *words)  # fmt: skip
    with safe_open(place / "condensed.safetensors", framework="pt") as file:
        pixels = file.get_tensor("pixels")
    assert pixels.dtype == torch.float32
    assert stored_bytes(place / "condensed.safetensors") == [4 * pixels.numel()]


def test_the_score_is_of_what_is_stored(tmp_path: Path) -> None:
    path, _ = run(tmp_path / "run")
    before = dance.load(path).scores[0]
    outcome = done("evaluate", path, "--protocol=quick-v1", "--epochs=1", "--repeats=1", "--json")
    assert outcome.json["scores"][0]["last"]["values"] == list(before.last.values)


@pytest.mark.parametrize("kind", ["uint4", "8"])
def test_another_number_type_is_refused(kind: str) -> None:
    outcome = command("condense", "digits", f"--store={kind}")
    assert outcome.code == 2 and "store must be" in outcome.err
