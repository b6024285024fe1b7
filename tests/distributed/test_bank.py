"""A bank that several processes make, and a run of several from its file: the bytes of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dance.condensed import load_set
from dance.core.files import read_tensors
from distributed.processes import finish, start
from e2e.command import done

MADE = ("--network.width=8", "--experts.count=2", "--experts.epochs=1", "--bank-draws=3")
RUN = ("--ipc=2", "--options.iterations=4", "--chunk=1")
SIZE = 2


def together(cache: Path, *words: str | Path) -> list[str]:
    """Run one command in several processes; what each printed."""
    ended = finish(start(SIZE, "-m", "dance", *words, DANCE_CACHE=str(cache)))
    assert all(code == 0 for code, _, _ in ended), ended
    return [out for _, out, _ in ended]


@pytest.mark.slow
def test_several_processes_make_the_file_and_the_synthetic_of_one(tmp_path: Path) -> None:
    files = [tmp_path / "one.safetensors", tmp_path / "many.safetensors"]
    done("bank", "digits", *MADE, "--output", files[0])
    message = together(tmp_path / "cache", "bank", "digits", *MADE, "--output", files[1])
    assert [bool(out) for out in message] == [True, False]  # rank 0 prints for all
    (one, header), (many, other) = (read_tensors(file, "portable bank") for file in files)
    assert one.keys() == many.keys()
    for name, tensor in one.items():
        assert torch.equal(many[name], tensor), name
    assert {**other, "seconds": 0, "experts": 0} == {**header, "seconds": 0, "experts": 0}

    runs = [tmp_path / "run-one", tmp_path / "run-many"]
    done("condense", files[0], *RUN, "--output", runs[0])
    together(tmp_path / "empty", "condense", files[0], *RUN, "--output", runs[1])
    pixels = [load_set(run / "condensed.safetensors").pixels for run in runs]
    assert torch.equal(pixels[1], pixels[0])
