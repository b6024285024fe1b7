"""Files of PyTorch: what is read of them is what PyTorch reads, and the rest is refused."""

from __future__ import annotations

import collections
import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.core.errors import DataError
from dance.core.torch_file import read


def by_zip(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def by_old(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "zip": by_zip,
    "old": by_old,
    "pickle": pickle.dumps,
    "pickle 2": lambda value: pickle.dumps(value, 2),
}


def values() -> dict[str, Any]:
    images = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return {
        "data": [[images, torch.arange(4)], [images.half().transpose(2, 3), torch.arange(9)[2:6]]],
        "accs": {"ConvNet": [np.float64(3.5), np.array([1.0, 2.0])]},
        "parameter": torch.nn.Parameter(images),
        "shared": [images, images[1:]],
        "kinds": [images.to(kind) for kind in (torch.bfloat16, torch.float64, torch.int8)],
        "bytes": (images * 255).byte(),
        "truth": images > 0.5,
        "empty": torch.empty(0, 3),
        "number": torch.tensor(0.25),
        "order": collections.OrderedDict(),
    }


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        kinds = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        return kinds and torch.equal(ours, theirs.detach())
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(np.all(ours == theirs))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_are_those_that_pytorch_reads(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(WRITERS[writer](values()))
    found = read(path)
    assert same(found, values())
    if not writer.startswith("pickle"):  # in which every tensor has a storage of its own
        first, later = found["shared"]
        first[1, 0, 0, 0] = 7
        assert later[0, 0, 0, 0] == 7


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_program_is_refused_by_name_and_not_run(writer: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "x.pt"
    path.write_bytes(WRITERS[writer]([torch.zeros(2), Evil(marker)]))
    with pytest.raises(DataError, match=r"posix\.system"):
        read(path)
    assert not marker.exists()


def test_a_program_in_a_storage_is_refused(tmp_path: Path) -> None:
    """Plain pickles hold each storage as a file within the file, which is a pickle again."""
    marker, path = tmp_path / "marker", tmp_path / "x.pkl"

    class Inner:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.storage._load_from_bytes, (by_old(Evil(marker)),)

    path.write_bytes(pickle.dumps(Inner()))
    with pytest.raises(DataError, match=r"posix\.system"):
        read(path)
    path.write_bytes(pickle.dumps(Outer(by_old(Inner()))))
    with pytest.raises(DataError, match="_load_from_bytes"):
        read(path)
    assert not marker.exists()


class Outer:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.content,)


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (lambda: torch.nn.Linear(1, 1), r"torch\.nn\.modules\.linear\.Linear"),
        (lambda: torch.eye(2).to_sparse(), "sparse"),
        (lambda: {"dtype": torch.float32}, "dtype|float32"),
        (lambda: collections.Counter("aab"), r"collections\.Counter"),
    ],
)
@pytest.mark.draws_globally
def test_other_objects_are_refused_by_name(
    value: Callable[[], Any], asked: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path.write_bytes(by_zip(value()))
    with pytest.raises(DataError, match=asked):
        read(path)


def rebuilt(numbers: int, offset: int, size: tuple[Any, ...], stride: tuple[Any, ...]) -> Any:
    """A value that pickles as a tensor with any shape over a storage of so many numbers."""

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            storage = torch.zeros(numbers).untyped_storage()
            typed = torch.storage.TypedStorage(
                wrap_storage=storage, dtype=torch.float32, _internal=True
            )
            arguments = (typed, offset, size, stride, False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    return Tensor()


@pytest.mark.parametrize(
    ("numbers", "offset", "size", "stride"),
    [
        (4, 0, (5,), (1,)),
        (4, 2, (3,), (1,)),
        (4, 0, (2, 2), (4, 1)),
        (4, 0, (10**6, 10**6), (0, 0)),
        (4, -1, (2,), (1,)),
        (4, 0, (2,), (-1,)),
        (4, 0, (2,), (1, 1)),
        (4, 0, (True,), (1,)),
    ],
)
@pytest.mark.parametrize("writer", ["zip", "old"])
def test_a_tensor_never_leaves_its_storage(
    writer: str, numbers: int, offset: int, size: Any, stride: Any, tmp_path: Path
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(WRITERS[writer](rebuilt(numbers, offset, size, stride)))
    with pytest.raises(DataError, match=r"more numbers|shape"):
        read(path)


def test_archives_that_are_not_of_pytorch_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"data\.pkl"):
        read(path)
    for members in ({"a/data.pkl": b"", "b/data.pkl": b""}, {"a/data.pkl": b"junk"}):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(DataError, match=r"data\.pkl|damaged"):
            read(path)


def test_big_endian_numbers_and_bombs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(by_zip(torch.zeros(3)).replace(b"little", b"bigger"))
    with pytest.raises(DataError, match=r"little-endian|damaged"):
        read(path)
    path.write_bytes(by_zip(torch.zeros(3)))
    monkeypatch.setattr("dance.core.torch_file.MAX_BYTES", 10)
    with pytest.raises(DataError, match="at most 10 bytes"):
        read(path)


CONTENTS = {name: WRITERS[name](torch.arange(6)) for name in ("zip", "old", "pickle")}


@given(st.sampled_from(sorted(CONTENTS)), st.data())
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    content = bytearray(CONTENTS[kind])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("damaged") / "x.pt"
    path.write_bytes(bytes(content[:cut]) if data.draw(st.booleans()) else bytes(content))
    try:
        read(path)
    except DataError as error:
        assert str(path) in str(error) or "storage" in str(error)
