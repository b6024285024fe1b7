"""The reader of pickles: what it reads as Python does, and what it refuses before it is made."""

import os
import pickle
import struct
import time
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dance.core.errors import DataError
from dance.core.unpickle import load, loads
from unit import python2

ARRAYS = {
    "bytes": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "columns": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "big-endian": np.arange(5, dtype=">f4"),
    "empty": np.zeros((0, 3), np.uint8),
    "truth": np.array([True, False]),
}


def same(ours, theirs):
    """Whether two values are equal, with types, and arrays element by element."""
    if isinstance(theirs, np.ndarray):
        return (
            isinstance(ours, np.ndarray)
            and (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            and (ours == theirs).all()
        )
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, (list, tuple)):
        pairs = zip(ours, theirs, strict=True)
        return type(ours) is type(theirs) and all(same(a, b) for a, b in pairs)
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_those_that_python_reads(protocol, name):
    value = {"data": ARRAYS[name], "again": [ARRAYS[name], ARRAYS[name]]}
    assert same(loads(pickle.dumps(value, protocol), "x"), value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(0, 9) | st.binary(), inner)
    ),
    max_leaves=20,
)


@given(PLAIN, st.integers(0, 5))
def test_plain_values_are_those_that_python_reads(value, protocol):
    assert same(loads(pickle.dumps(value, protocol), "x"), value)


def test_pickles_of_python_2_have_bytes_for_strings():
    value = {"data": ARRAYS["bytes"], "labels": [0, 9, -1], "label_names": ["cat", "dog"]}
    content = python2.dumps(value)
    theirs = pickle.loads(content, encoding="bytes")
    assert same(loads(content, "x"), theirs)
    assert theirs[b"label_names"] == [b"cat", b"dog"]


def test_numbers_of_numpy_become_pythons():
    assert same(loads(pickle.dumps([np.int64(7), np.float32(0.5)]), "x"), [7, 0.5])


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def short(text):
    return b"\x8c" + bytes([len(text)]) + text


MARKER = "/tmp/dance-test-was-executed"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
TYPE = b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R"
TYPE += b"(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ARRAY = RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"
HUGE = b"\x8a\x06" + (2**40).to_bytes(6, "little")

HOSTILE = {
    "by GLOBAL": (
        b"cposix\nsystem\n" + short(b"touch " + MARKER.encode()) + b"\x85R.",
        "posix.system",
    ),
    "by STACK_GLOBAL": (pickle.dumps(Calls(os.system, f"touch {MARKER}"), 4), "posix.system"),
    "eval": (pickle.dumps(Calls(eval, f"open('{MARKER}', 'w')"), 2), "__builtin__.eval"),
    "a dotted name": (short(b"numpy") + short(b"dtype.__new__") + b"\x93.", r"numpy.dtype.__new__"),
    "a function of numpy": (
        b"cnumpy\nfromfile\n" + short(b"/etc/passwd") + b"\x85R.",
        "numpy.fromfile",
    ),
    "getattr": (b"c__builtin__\ngetattr\n.", "__builtin__.getattr"),
    "by INST": (b"(S'touch x'\nios\nsystem\n.", "INST os.system"),
    "by OBJ": (b"(cnumpy\nndarray\no.", "OBJ"),
    "by NEWOBJ": (b"cnumpy\nndarray\n" + HUGE + b"\x85\x81.", "NEWOBJ"),
    "by NEWOBJ_EX": (b"cnumpy\nndarray\n)}\x92.", "NEWOBJ_EX"),
    "an extension": (b"\x82\x05.", "EXT1 5"),
    "a persistent id": (b"Pos.system\n.", "PERSID os.system"),
    "a persistent id of the stack": (short(b"x") + b"Q.", "BINPERSID"),
    "a buffer from outside": (b"\x97.", "NEXT_BUFFER"),
    "a class of the standard library": (pickle.dumps(OrderedDict(), 2), "collections.OrderedDict"),
    "a set": (pickle.dumps({1}, 4), "EMPTY_SET"),
    "another encoding": (
        b"c_codecs\nencode\n" + short(b"x") + short(b"idna") + b"\x86R.",
        "_codecs.encode of something else",
    ),
    "too many arguments": (
        b"c_codecs\nencode\n(K\x01K\x02K\x03K\x04tR.",
        "_codecs.encode with arguments",
    ),
    "bytes of any length": (b"cbuiltins\nbytes\n" + HUGE + b"\x85R.", "bytes with an argument"),
    "a call of a value": (b"K\x01)R.", "a call of a int"),
    "a call of an array": (ARRAY + b")R.", "a call of a Array"),
    "attributes of a function": (
        RECONSTRUCT + b"}" + short(b"__defaults__") + b"K\x01sb.",
        r"a change of a numpy\.core\.multiarray\._reconstruct",
    ),
    "attributes of a list": (b"]}" + short(b"x") + b"K\x01sb.", "a change of a list"),
    "objects": (pickle.dumps(np.array([{}, None], dtype=object)), r"array of the type 'O8'"),
    "records": (pickle.dumps(np.zeros(2, "u1,f4")), r"array of the type 'V5'"),
    "dates": (pickle.dumps(np.zeros(2, "M8[s]")), r"array of the type 'M8'"),
    "fields of a plain type": (
        b"cnumpy\ndtype\n"
        + short(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + short(b"|")
        + b"N)}K\x01K\x01K\x00tb.",
        "structured",
    ),
    "a huge array": (
        ARRAY + b"(K\x01" + HUGE + b"\x85" + TYPE + b"\x89C\x01xtb.",
        r"array of 1,099,511,627,776 bytes",
    ),
    "a negative shape": (
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + TYPE + b"\x89C\x00tb.",
        "a shape that is not one",
    ),
    "an array of a list": (ARRAY + b"(K\x01K\x01\x85" + TYPE + b"\x89]tb.", "not given as bytes"),
    "an unfinished type": (
        ARRAY + b"(K\x01K\x01\x85cnumpy\ndtype\n" + short(b"u1") + b"\x85R\x89C\x01xtb.",
        "not given as bytes",
    ),
    "a huge number": (b"\x8b" + struct.pack("<i", 10**5) + b"\x7f" * 10**5 + b".", "a number of"),
    "a tuple as a key": (b"})K\x01s.", "a key that is a tuple"),
    "appended to a dictionary": (b"}K\x01a.", "no list"),
    "an entry of a list": (b"]K\x01K\x01s.", "no dictionary"),
    "many copies of bytes": (
        b"X"
        + struct.pack("<i", 10**5)
        + b"x" * 10**5
        + b"q\x010"
        + b"c_codecs\nencode\nq\x02"
        + b"h\x02h\x01"
        + short(b"latin1")
        + b"\x86R"
        + b"h\x02h\x01\x85R" * 10
        + b".",
        "more bytes than the file has",
    ),
    "more values than a set has": (b"(" + b"N" * 1_000_001 + b"l.", "more than 1,000,000 values"),
}

DAMAGED = {
    "nothing": b"",
    "text": b"hello",
    "no end": b"K\x01",
    "an empty stack": b".",
    "a mark": b"(.",
    "no mark": b"K\x01t.",
    "a missing memo": b"h\x05.",
    "a huge memo": b"r\xff\xff\xff\xff.",
    "a length beyond the file": b"B\xff\xff\xff\x7fx.",
    "an 8-byte length beyond the file": b"\x8e" + b"\xff" * 7 + b"\x7fx.",
    "half an entry": b"}(K\x01u.",
    "digits without end": b"I" + b"9" * 10**5 + b"\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_run_code_is_refused_by_its_name(name, tmp_path):
    content, said = HOSTILE[name]
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    began = time.process_time()
    with pytest.raises(DataError, match=said) as caught:
        load(path)
    assert time.process_time() - began < 4  # a million values are the most
    assert str(path) in str(caught.value)
    assert ".npz" in str(caught.value)
    assert not os.path.exists(MARKER)  # noqa: PTH110


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_named(name):
    with pytest.raises(DataError, match="x is damaged or no pickle"):
        loads(DAMAGED[name], "x")


def test_nesting_without_end_costs_nothing():
    depth = 100_000
    assert loads(b"]" * depth + b"a" * (depth - 1) + b".", "x") != []
    laughs = b"]q\x00" + b"".join(b"(h%ch%cl" % (n, n) + b"q%c" % (n + 1) for n in range(99))
    assert len(loads(laughs + b".", "x")) == 2


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match="must be a file"):
            load(path)


@settings(deadline=None)
@given(st.data())
def test_a_mutated_pickle_gives_plain_values_or_a_message(data):
    content = bytearray(pickle.dumps([ARRAYS, {"labels": [1, 2]}], data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + 1] = data.draw(st.binary(max_size=2))
    try:
        loads(bytes(content), "x")
    except DataError as error:
        assert str(error).startswith("x is")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_plain_values_or_a_message(content):
    try:
        loads(content, "x")
    except DataError as error:
        assert str(error).startswith("x is")


def test_damaged_escapes_are_refused_or_read_without_a_warning():
    assert loads(b"S'a\\_b'\n.", "x") in (b"a\\_b", "a\\_b")
