"""Reads tensors from files that ``torch.save`` or ``pickle`` wrote; nothing in them is run.

Three kinds of file are read, all through :mod:`dance.core.unpickle`, so anything but numbers, text,
lists, tuples, dictionaries, plain arrays and dense tensors is refused by its name:

* zip archives, as PyTorch writes them since version 1.6: a pickle, and one member for each storage;
* files of earlier versions: pickles with a description, then the storages one after the other;
* plain pickles of tensors, in which each storage is such an earlier file of its own.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dance.core.errors import DataError
from dance.core.unpickle import (
    ARRAYS,
    MAX_BYTES,
    Maker,
    Named,
    RefusedError,
    loads,
    read_bytes,
)

_DTYPES = {
    "torch.DoubleStorage": torch.float64, "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16, "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16, "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8, "torch.BoolStorage": torch.bool,
}  # fmt: skip
_ZIP = b"PK\x03\x04"
_OLD = bytes.fromhex("80028a0a6cfc9c46f9206aa85019" + "2e" + "80024de9032e")
"""How files of earlier versions begin: the pickles of a constant of 80 bits, and of 1001."""


@dataclass(frozen=True)
class _Storage:
    """Numbers in a row, to which tensors refer.

    Attributes:
        data: (n,) of any type.
    """

    data: Tensor


def read(path: Path) -> Any:
    """Read the plain values, arrays and tensors of a file.

    Args:
        path: of a file by ``torch.save`` or ``pickle.dump``.

    Returns:
        What was stored; tensors are on the CPU, and share memory where they did in the file.

    Raises:
        DataError: the file cannot be read, is damaged, or asks for anything else, which is named;
            then nothing of it was made or called.
    """
    content = read_bytes(path)
    try:
        if content.startswith(_ZIP):
            return _read_archive(io.BytesIO(content), str(path))
        if content.startswith(_OLD):
            return _read_old(content, str(path))
        allowed = {**_allowed(), "torch.storage._load_from_bytes": _storage_of_bytes}
        return loads(content, str(path), allowed)
    except DataError:
        raise
    except Exception as error:  # a damaged archive can make its readers raise any exception
        raise DataError(f"{path} is damaged, or no file of PyTorch; copy it again") from error


def _read_archive(content: io.BytesIO, where: str) -> Any:
    """Read a zip archive."""
    with zipfile.ZipFile(content) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        pickles = [name for name in sizes if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DataError(
                f"{where} must hold one data.pkl, as torch.save writes it: it is a zip archive "
                f"with {len(pickles)}"
            )
        if sum(sizes.values()) > MAX_BYTES:
            raise DataError(
                f"{where} must hold at most {MAX_BYTES:,} bytes: it holds {sum(sizes.values()):,}; "
                "store its arrays as .npz"
            )
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in sizes and archive.read(f"{folder}byteorder") != b"little":
            raise DataError(f"{where} must store little-endian numbers: it stores others")
        stored: dict[str, bytes] = {}

        def numbers(key: str) -> bytes:
            if key not in stored:
                stored[key] = archive.read(f"{folder}data/{key}")
            return stored[key]

        storages = _Storages(numbers)
        return loads(archive.read(pickles[0]), where, _allowed(), storages.find)


def _read_old(content: bytes, where: str) -> Any:
    """Read a file of an earlier version of PyTorch.

    The pickle with the values comes first and tells the types of the storages, without which their
    lengths in bytes are not known. It is read twice: with empty storages, and then with the right
    ones.
    """
    stream = io.BytesIO(content)
    stream.seek(len(_OLD))
    system = loads(stream, where)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DataError(f"{where} must store little-endian numbers: it stores others")
    start = stream.tell()
    empty = _Storages(None)
    loads(stream, where, _allowed(checked=False), empty.find)
    keys = loads(stream, where)
    if not isinstance(keys, list) or set(keys) != set(empty.dtypes):
        raise DataError(f"{where} is damaged: its storages are not those that it lists")
    stored: dict[str, bytes] = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        stored[key] = stream.read(count * empty.dtypes[key].itemsize)
    stream.seek(start)
    return loads(stream, where, _allowed(), _Storages(stored.__getitem__).find)


class _Storages:
    """The storages of one file by key.

    Args:
        read: the bytes of a storage (None: all storages are empty).
    """

    def __init__(self, read: Callable[[str], bytes] | None) -> None:
        self._read = read
        self._made: dict[str, _Storage] = {}
        self.dtypes: dict[str, torch.dtype] = {}

    def find(self, reference: object) -> _Storage:
        """The storage that a pickle refers to: ``("storage", type, key, device, count, …)``."""
        if not isinstance(reference, tuple) or len(reference) < 5 or reference[0] != "storage":
            raise RefusedError("a part beside the pickle that is no storage of PyTorch")
        kind, key, count = reference[1], reference[2], reference[4]
        if not isinstance(kind, Named) or kind.name not in _DTYPES or not isinstance(key, str):
            raise RefusedError("a storage of a type that is not one of plain numbers")
        dtype = _DTYPES[kind.name]
        if self.dtypes.setdefault(key, dtype) != dtype:
            raise RefusedError("one storage with two types")
        if key not in self._made:
            self._made[key] = self._make(key, dtype, count)
        return self._made[key]

    def _make(self, key: str, dtype: torch.dtype, count: object) -> _Storage:
        if self._read is None:
            return _Storage(torch.empty(0, dtype=dtype))
        content = self._read(key)
        if not isinstance(count, int) or count * dtype.itemsize != len(content):
            raise ValueError("a storage of another length")
        numbers = torch.frombuffer(bytearray(content), dtype=dtype) if count else torch.empty(0)
        return _Storage(numbers.to(dtype))


def _allowed(checked: bool = True) -> Mapping[str, Maker]:
    """What a pickle with tensors may name; unchecked tensors are empty and of no shape."""
    tensor = _tensor if checked else lambda *arguments: torch.empty(0)
    return {
        **ARRAYS,
        **dict.fromkeys(_DTYPES, _not_called),
        "collections.OrderedDict": _empty,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": _parameter,
    }


def _not_called(*arguments: object) -> object:
    raise RefusedError("a storage that is made by a call")


def _empty(*arguments: object) -> dict[object, object]:
    """``collections.OrderedDict()``, which tensors have for hooks that they do not have."""
    if arguments:
        raise RefusedError("an ordered dictionary of a list")
    return {}


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    """A tensor over the numbers of a storage, if they are as many as its shape says."""
    if not isinstance(storage, _Storage):
        raise RefusedError("a tensor without a storage")
    lengths = (offset, *_integers(size), *_integers(stride))
    if not all(type(value) is int and value >= 0 for value in lengths):
        raise RefusedError("a tensor with a shape that is not one")
    assert isinstance(offset, int)
    shape, steps = _integers(size), _integers(stride)
    if len(shape) != len(steps) or math.prod(shape) > len(storage.data):
        raise RefusedError("a tensor with more numbers than its storage")
    if math.prod(shape) == 0:
        return torch.empty(shape, dtype=storage.data.dtype)
    last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    if last >= len(storage.data):
        raise RefusedError("a tensor with more numbers than its storage")
    return storage.data.as_strided(shape, steps, offset)


def _integers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise RefusedError("a tensor with a shape that is not one")
    return value


def _parameter(data: object, *_: object) -> Tensor:
    """The tensor of a ``torch.nn.Parameter``."""
    if not isinstance(data, Tensor):
        raise RefusedError("a parameter that is no tensor")
    return data


def _storage_of_bytes(content: object) -> _Storage:
    """A storage that is a file of an earlier version of its own, as in plain pickles."""
    if not isinstance(content, bytes) or not content.startswith(_OLD):
        raise RefusedError("a storage that is not one of plain numbers")
    found = _read_old(content, "a storage")
    if not isinstance(found, _Storage):
        raise RefusedError("a storage that is not one of plain numbers")
    return found
