"""Pickles as Python 2 wrote them, protocol 2: its strings are bytes, and arrays hold strings."""

import struct

import numpy as np


def dumps(value):
    """The pickle of dictionaries, lists, whole numbers, bytes and arrays of uint8 or int64."""
    return b"\x80\x02" + _written(value) + b"."


def _written(value):
    if isinstance(value, dict):
        pairs = b"".join(_written(key) + _written(item) for key, item in value.items())
        return b"}(" + pairs + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_written, value)) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    assert isinstance(value, np.ndarray)
    code, order = ("u1", "|") if value.dtype == np.uint8 else ("i8", "<")
    kind = b"cnumpy\ndtype\n" + _written(code) + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + _written(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(map(_written, value.shape)) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return made + b"(K\x01" + shape + kind + b"\x89" + _written(value.tobytes()) + b"tb"
