"""Files of the cache in the place of others: detected, named and made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dance.core.files import cache_dir, read_tensors
from dance.data import load
from dance.experts import ExpertConfig, ExpertPool, NetworkTraining
from dance.experts.bank import Bank
from dance.experts.trajectories import TrajectoryConfig, TrajectoryPool
from dance.networks import NetworkConfig, build
from unit.training.blobs import blobs

SHAPE = NetworkConfig(width=4, depth=1)
KINDS = {
    "expert": (ExpertPool, ExpertConfig(epochs=2, batch_size=8, count=2)),
    "trajectory": (TrajectoryPool, TrajectoryConfig(epochs=2, batch_size=8, count=2)),
}


def pool(kind: str, directory: Path, seed: int = 0) -> Any:
    make, config = KINDS[kind]
    network = build(SHAPE, 3, 8, 3)
    training = NetworkTraining(blobs(20), network, SHAPE, config, seed)
    return make(training, directory=directory)


def contents(made: Any, kind: str) -> list[tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """Header without the seconds, which no second training repeats, and tensors of each file."""
    read = []
    for index in range(2):
        tensors, header = read_tensors(made.store.path(index), kind)
        read.append(({name: header[name] for name in header if name != "seconds"}, tensors))
    return read


@pytest.mark.parametrize("kind", KINDS)
class TestNetworks:
    def test_two_that_are_exchanged(self, kind: str, tmp_path: Path, capsys: Any) -> None:
        made = pool(kind, tmp_path)
        made.ensure(2)
        first, second = made.store.path(0), made.store.path(1)
        before = contents(made, kind)
        shutil.move(first, tmp_path / "x")
        shutil.move(second, first)
        shutil.move(tmp_path / "x", second)
        assert made.store.missing(2) == 2
        capsys.readouterr()
        made.ensure(2)
        said = capsys.readouterr().err
        assert f"{first} is another file's content: its index must be 0, and is 1" in said
        assert f"training {kind} 1 again" in said and f"training {kind} 2 again" in said
        for (header, tensors), (again, tensors_again) in zip(
            before, contents(made, kind), strict=True
        ):
            assert header == again
            torch.testing.assert_close(tensors_again, tensors)
        assert made.store.missing(2) == 0

    def test_one_of_another_pool(self, kind: str, tmp_path: Path, capsys: Any) -> None:
        made, other = pool(kind, tmp_path), pool(kind, tmp_path, seed=1)
        made.ensure(2)
        other.ensure(2)
        shutil.copy(other.store.path(0), made.store.path(0))
        assert (made.store.missing(2), other.store.missing(2)) == (1, 0)
        capsys.readouterr()
        made.ensure(2)
        assert "its seed must be 0, and is 1" in capsys.readouterr().err


def test_a_bank_of_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def entry(number: int) -> torch.Tensor:
        return torch.full((2, 3), float(number))

    one, other = Bank(tmp_path, {"views": 1}), Bank(tmp_path, {"views": 2})
    one.ensure(2, entry, range(2))
    shutil.copy(one.path, other.path)
    assert (one.finished()[0], other.finished()[0]) == (2, 0)
    capsys.readouterr()
    made = other.ensure(2, lambda number: entry(number) + 5, range(2))
    assert "its views must be 2, and is 1; making the bank again" in capsys.readouterr().err
    assert torch.equal(made[0], torch.full((2, 3), 5.0))


def test_decoded_images_and_memos_of_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))
    from dance.data import DataConfig

    parts = [load("digits", "train", DataConfig(size=size)) for size in (8, 16)]
    images = cache_dir() / "images"
    entries = {
        json.loads((path / "meta.json").read_text())["resolution"]: path
        for path in images.iterdir()
        if (path / "meta.json").is_file()
    }
    shutil.rmtree(entries[16])
    shutil.copytree(entries[8], entries[16])
    capsys.readouterr()
    again = load("digits", "train", DataConfig(size=16))
    assert torch.equal(again.images, parts[1].images)
    assert "are damaged (they are those of" in capsys.readouterr().err
    (memo,) = (images / "sources").glob("*.json")
    content = json.loads(memo.read_text())
    memo.write_text(json.dumps({**content, "stamp": "0" * 64}))
    assert load("digits", "train", DataConfig(size=8)).fingerprint == parts[0].fingerprint
    assert "is about another source" in capsys.readouterr().err
    assert json.loads(memo.read_text()) == content


def test_experts_of_one_epoch_are_not_those_that_decayed_before_it() -> None:
    """The rate of 1/25 that they once had throughout was that of milestones at epoch 0."""
    network = build(SHAPE, 3, 8, 3)
    kept = [
        NetworkTraining(blobs(20), network, SHAPE, ExpertConfig(epochs=epochs), 0).identity()[
            "recipe"
        ]["milestones"]
        for epochs in (1, 2, 60)
    ]
    assert kept == [[], ["2/3", "5/6"], ["2/3", "5/6"]]
