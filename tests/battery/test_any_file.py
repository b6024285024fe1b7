"""Files with any header: each is read, or refused by a DanceError, within two seconds.

Each of the five kinds of files is generated 2,000 times, in part from the grammar of its header
and in part by damaging a good file.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dance.condensed import CondensedSet, load_set
from dance.core.config import build
from dance.core.errors import DanceError
from dance.core.unpickle import loads
from dance.core.yaml_file import read_yaml
from dance.data import DataConfig
from dance.data.find import find
from dance.data.normalization import Normalization
from dance.engine.config import RunConfig

pytestmark = pytest.mark.slow

MANY = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
SECONDS = 2


@contextmanager
def at_once() -> Iterator[None]:
    """Fail if the block takes long, or raises anything else than a :class:`DanceError`."""
    began = time.process_time()  # not the clock: the machine may be busy
    try:
        yield
    except DanceError as error:
        assert str(error)
    assert time.process_time() - began < SECONDS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


Strategy = st.SearchStrategy[Any]


def nest(leaf: Strategy, extend: Callable[[Strategy], Strategy]) -> Strategy:
    """Values that hold such values, three levels deep."""
    made = leaf
    for _ in range(3):
        made = leaf | extend(made)
    return made


def read_labels(path: Path) -> None:
    """What loading does before it decodes: find the set, and give its labels and records."""
    source = find(str(path), DataConfig()).source
    keep = range(len(source.classes))
    for split in source.splits:
        source.labels(split, keep)
        for _ in source.records(split, keep):
            pass


@st.composite
def damaged(draw: Any, whole: bytes, most: int = 600) -> bytes:
    """A good file in which a few bytes differ, are missing or are added."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, min(len(content), most)))
        content[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


# .npz

LENGTHS = st.integers(-2, 9) | st.sampled_from([2**31, 2**62, 2**64, 10**30])
KINDS = st.sampled_from(
    ["|u1", "<i8", ">i4", "<f4", ">f8", "<f2", "|b1", "<U3", "|S2", "|O", "|V3", "<c8", "<M8[s]",
     "x", "", 7, None, [("a", "|u1")], [("a", "|O")], ("|u1", (2,)),
     {"names": ["a"], "formats": ["u1"]}]
)  # fmt: skip


@st.composite
def array_file(draw: Any) -> bytes:
    """A ``.npy`` file whose header says anything."""
    header = {
        "descr": draw(KINDS),
        "fortran_order": draw(st.sampled_from([False, True, 1, "no", None])),
        "shape": draw(st.lists(LENGTHS, max_size=5).map(tuple) | st.sampled_from([3, "x", [4]])),
    }
    header |= draw(st.dictionaries(st.text(max_size=3), st.integers(), max_size=1))
    text = draw(st.just(repr(header)) | st.text(max_size=30)).encode("utf-8", "replace")
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    size = struct.pack(
        "<H" if version == (1, 0) else "<I", len(text) + draw(st.integers(-1, 1)) % 2
    )
    content = draw(st.binary(max_size=80) | st.integers(0, 4).map(lambda n: bytes(64 * n)))
    return b"\x93NUMPY" + bytes(version) + size + text + b"\n" + content


def good_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(4 * 8 * 8, dtype=np.uint8).reshape(4, 8, 8))
    return file.getvalue()


def good_labels() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([0, 1, 0, 1]))
    return file.getvalue()


NAMES = ("images", "labels", "test_images", "test_labels", "x_train", "y_train", "classes")


@MANY
@given(st.data())
def test_npz(place: Path, data: Any) -> None:
    path = place / "set.npz"
    arrays = {"images": good_array(), "labels": good_labels()}
    for name in data.draw(st.sets(st.sampled_from(NAMES), min_size=1, max_size=3)):
        arrays[name] = data.draw(array_file() | damaged(good_array()) | damaged(good_labels()))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(path.read_bytes(), 10**6)))
    with at_once():
        read_labels(path)


# Parquet


def encoded() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(file, "PNG")
    return file.getvalue()


PNG = encoded()
BYTES = st.sampled_from([PNG, PNG[:20], b"", None])
CELLS: list[tuple[pa.DataType, Strategy]] = [
    (pa.binary(), BYTES),
    (pa.large_binary(), BYTES),
    (pa.binary_view(), BYTES),
    (pa.struct({"bytes": pa.binary(), "path": pa.string()}), st.none()
     | st.fixed_dictionaries({"bytes": BYTES, "path": st.none() | st.text(max_size=3)})),
    (pa.struct({"bytes": pa.string()}), st.fixed_dictionaries({"bytes": st.text(max_size=3)})),
    (pa.struct({"path": pa.string()}), st.fixed_dictionaries({"path": st.text(max_size=3)})),
    (pa.list_(pa.binary()), st.lists(BYTES, max_size=2)),
    (pa.string(), st.sampled_from(["a", "b", "", " a", "1", "01", None])),
    (pa.large_string(), st.sampled_from(["a", "b"])),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b", None])),
    (pa.dictionary(pa.int8(), pa.int64()), st.integers(0, 2)),
    (pa.int64(), st.integers(-1, 3) | st.sampled_from([2**62, 10**12, None])),
    (pa.uint64(), st.integers(0, 2) | st.just(2**64 - 1)),
    (pa.int8(), st.integers(0, 1)),
    (pa.float32(), st.sampled_from([0.0, 1.0, float("nan"), None])),
    (pa.bool_(), st.booleans()),
    (pa.null(), st.none()),
    (pa.timestamp("s"), st.integers(0, 9)),
    (pa.decimal128(9, 2), st.none()),
    (pa.map_(pa.string(), pa.int64()), st.just([("a", 1)])),
    (pa.list_(pa.int64()), st.lists(st.integers(0, 1), max_size=2)),
]  # fmt: skip
COLUMNS = ("image", "img", "Image", "label", "labels", "category", "split", "x", "")
JSON = nest(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["info", "features", "label", "names", "x"]), inner, max_size=3
        )
    ),
)


@MANY
@given(st.data())
def test_parquet(place: Path, data: Any) -> None:
    rows = data.draw(st.integers(0, 4))
    columns = {"image": CELLS[data.draw(st.integers(0, 6))], "label": CELLS[11]}
    for name in data.draw(st.sets(st.sampled_from(COLUMNS), max_size=2)):
        columns[name] = data.draw(st.sampled_from(CELLS))
    table = pa.table(
        {
            name: pa.array([data.draw(cell) for _ in range(rows)], kind)
            for name, (kind, cell) in columns.items()
        }
    )
    about = data.draw(JSON.map(json.dumps) | st.text(max_size=5))
    if data.draw(st.booleans()):
        names = data.draw(JSON | st.just(["a", "b"]))
        about = json.dumps({"info": {"features": {"label": {"names": names}}}})
    path = place / "set.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": about}), path, row_group_size=2)
    if data.draw(st.integers(0, 3)) == 0:
        path.write_bytes(data.draw(damaged(path.read_bytes(), 10**6)))
    with at_once():
        read_labels(path)


# Safetensors

OFFSETS = st.lists(st.integers(-1, 300) | st.just(2**63), max_size=3)
TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F32", "I64", "BOOL", "F8_E4M3", "X", 3]),
        "shape": st.lists(st.integers(-1, 8) | st.just(2**62), max_size=5),
        "data_offsets": OFFSETS,
    }
)


@pytest.fixture(scope="module")
def condensed(place: Path) -> bytes:
    path = place / "good.safetensors"
    CondensedSet(
        pixels=torch.linspace(0, 1, 2 * 16).reshape(2, 1, 4, 4),
        labels=torch.arange(2),
        classes=("a", "b"),
        normalization=Normalization((0.5,), (0.25,)),
        space="unit",
    ).save(path)
    return path.read_bytes()


@MANY
@given(st.data())
def test_safetensors(place: Path, condensed: bytes, data: Any) -> None:
    size = struct.unpack("<Q", condensed[:8])[0]
    header: dict[str, Any] = json.loads(condensed[8 : 8 + size])
    for name in data.draw(st.sets(st.sampled_from([*header, "x"]), max_size=2)):
        header[name] = data.draw(TENSOR | JSON)
    if data.draw(st.booleans()):
        about = json.loads(json.loads(condensed[8 : 8 + size])["__metadata__"]["dance"])
        about[data.draw(st.sampled_from([*about, "x"]))] = data.draw(JSON)
        header["__metadata__"] = {"dance": json.dumps(about)}
    text = data.draw(st.just(json.dumps(header)) | JSON.map(json.dumps)).encode()
    length = len(text) if data.draw(st.integers(0, 9)) else data.draw(st.integers(0, 2**64 - 1))
    made = struct.pack("<Q", length) + text + condensed[8 + size :]
    path = place / "set.safetensors"
    path.write_bytes(data.draw(st.just(made) | damaged(made, 10**6)))
    with at_once():
        load_set(path)


# Pickles


def argument(opcode: Any) -> st.SearchStrategy[bytes]:
    """Bytes that follow an operation code: of its length, or a line, or a counted text."""
    kind = opcode.arg
    if kind is None:
        return st.just(b"")
    if kind.n > 0:
        return st.binary(min_size=kind.n, max_size=kind.n)
    if kind.n == pickletools.UP_TO_NEWLINE:
        words = [
            "os",
            "numpy",
            "ndarray",
            "_codecs",
            "encode",
            "1",
            "'a'",
            "system",
            "None",
            "9" * 99,
        ]
        return st.lists(st.sampled_from(words), min_size=2, max_size=2).map(
            lambda lines: "".join(f"{line}\n" for line in lines).encode()
        )
    form = {pickletools.TAKEN_FROM_ARGUMENT1: "<B", pickletools.TAKEN_FROM_ARGUMENT8U: "<Q"}
    count = form.get(kind.n, "<I")
    return st.binary(max_size=9).map(lambda text: struct.pack(count, len(text)) + text)


OPERATIONS = st.sampled_from(pickletools.opcodes).flatmap(
    lambda opcode: argument(opcode).map(lambda rest: opcode.code.encode("latin-1") + rest)
)
BATCH = {b"data": np.zeros((2, 12), np.uint8), b"labels": [0, 1], b"names": [b"a", "b", None]}


@MANY
@given(st.data())
def test_pickles(data: Any) -> None:
    whole = pickle.dumps(BATCH, data.draw(st.integers(0, 5)))
    operations = st.lists(OPERATIONS, max_size=30).map(lambda parts: b"".join(parts) + b".")
    content = data.draw(operations | damaged(whole) | st.binary(max_size=60))
    with at_once():
        loads(content, "x")


# YAML

SCALARS = st.sampled_from(
    ["1", "010", "0x1f", "1e300", ".nan", "-.inf", "null", "~", "yes", "1:30", "2026-01-01", "a",
     "'b'", '"\\x41"', "!!python/object/apply:os.system [x]", "!!binary YQ==", "!!set {a}",
     "!!int x", "!!float 1", "!x y", "&a", "*a", "*b", "<<", "=", "?", "-", "|", "[", "]", "{", "}",
     ":", ",", "%YAML 1.3", "---", "...", "\t", "#", "9" * 400, "\u2028", "\x85"]
)  # fmt: skip
KEYS = (
    "ipc",
    "seed",
    "method",
    "options",
    "source",
    "networks",
    "experts",
    "evaluation",
    "<<",
    "x",
)
NODES = nest(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3).map(
            lambda pairs: f"{{{', '.join(f'{key}: {value}' for key, value in pairs.items())}}}"
        )
        | inner.map("&a {}".format)
    ),
)


def nested(levels: int, anchor: Callable[[int], str]) -> str:
    """Lines in which each anchor refers several times to the one before."""
    return "x0: &a0 {ipc: 1}\n" + "".join(
        f"x{level}: &a{level} {anchor(level - 1)}\n" for level in range(1, levels)
    )


FORMS: list[Callable[[int], str]] = [
    lambda n: f"[*a{n}, *a{n}, *a{n}, *a{n}]",
    lambda n: f"{{<<: [*a{n}, *a{n}, *a{n}, *a{n}]}}",
    lambda n: f"{{<<: *a{n}, y{n}: *a{n}}}",
]


@MANY
@given(st.data())
def test_yaml(place: Path, data: Any) -> None:
    lines = st.dictionaries(st.sampled_from(KEYS), NODES, max_size=4).map(
        lambda pairs: "".join(f"{key}: {value}\n" for key, value in pairs.items())
    )
    bombs = st.builds(nested, st.integers(1, 40), st.sampled_from(FORMS))
    loose = st.lists(SCALARS | st.sampled_from(["\n", " ", "  "]), max_size=30).map("".join)
    text = data.draw(lines | lines | bombs | loose | st.text(max_size=40))
    path = place / "settings.yaml"
    path.write_bytes(data.draw(st.just(text.encode("utf-8", "replace")) | st.binary(max_size=30)))
    with at_once():
        build(RunConfig, read_yaml(path))
