"""What a file of another program is, by its first bytes, for messages."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"PAR1", "a parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
)
_LENGTH = 4096
"""Bytes that are read."""
_TAR = slice(257, 262)
"""Where an archive of tar says that it is one."""


def describe(path: Path) -> str | None:
    """What a file is that cannot be read as safetensors; None if that cannot be told.

    Args:
        path: of a regular file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH)
    except OSError:
        return None
    if len(start) < 10 or start[8:10] == b'{"':  # what is left of a safetensors file
        return None
    for beginning, kind in _BEGINNINGS:
        if start.startswith(beginning):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP image"
    if start[_TAR] == b"ustar":
        return "a tar archive"
    if start.startswith(b"PK\x03\x04"):
        return _describe_zip(path)
    return _describe_text(start)


def _describe_zip(path: Path) -> str:
    """What a zip archive is by its members, of which none is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return "a damaged zip archive"
    if any(name.endswith("/data.pkl") for name in names):
        return "a file of PyTorch (.pt)"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (.npz)"
    return "a zip archive"


def _describe_text(start: bytes) -> str | None:
    """What a text is; None for other bytes."""
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if len(start) < _LENGTH or error.start < len(start) - 3:  # not cut within a character
            return None
        text = start[: error.start].decode()
    if any(not (letter.isprintable() or letter.isspace()) for letter in text):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "a text file"
    return "a JSON file"
