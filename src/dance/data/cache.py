"""The cache of decoded sets: one folder of plain files each, whole or not there.

``<cache>/images/<key>/`` holds ``<split>_images.npy``, ``<split>_labels.npy`` and ``meta.json``. It
is made in a temporary folder beside it, under a lock, and renamed into place: a kill leaves nothing
that is taken for a set, and of two processes one builds and the other waits and takes what was
built (where the file system has no locks both build, and the first to finish counts). Everything in
it can be deleted at any time. A cache that cannot be written is an error, not a reason to decode
anew in every run; what it holds is served all the same.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from dance.core.errors import ArtifactError
from dance.core.files import Json
from dance.core.lock import locked
from dance.core.places import cache_dir
from dance.core.progress import log

FORMAT = 1
CHECK_WHOLE_BYTES = 64 * 2**20
"""Files up to this size are hashed whole each time they are opened; of larger ones, blocks are."""
MAP_BYTES = 256 * 2**20
"""Arrays from this size on are mapped into memory instead of being read."""
_BLOCKS, _BLOCK_BYTES = 64, 64 * 2**10


class Entry:
    """A verified set in the cache.

    Args:
        folder: where it is.
        meta: the content of its ``meta.json``.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Json]) -> None:
        self.folder = folder
        self.meta = meta

    def tensor(self, name: str) -> torch.Tensor:
        """One array; large ones are mapped copy-on-write, so that nothing can change the file."""
        path = self.folder / f"{name}.npy"
        mode = "c" if path.stat().st_size >= MAP_BYTES else None
        array: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)  # type: ignore[arg-type]
        return torch.from_numpy(array)


class ArrayFile:
    """An ``.npy`` file of uint8 written row by row, whose number of rows is known at the end.

    Plain writes, not a memory map: a full disk is then an error that can be reported, not a SIGBUS.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._rows = 0
        self._file: IO[bytes] = path.open("wb")
        self._write_header()

    def append(self, row: npt.NDArray[np.uint8]) -> None:
        """Add one row of the declared shape."""
        self._file.write(np.ascontiguousarray(row).tobytes())
        self._rows += 1

    def finish(self) -> None:
        """Write the final header over the first one, and everything to the disk."""
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._file.close()

    def _write_header(self) -> None:
        # numpy leaves room for the first dimension to grow, so both headers have the same length
        shape = (self._rows, *self._shape)
        described = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, described)


def entry_folder(*parts: str) -> Path:
    """A place under the cache; parts are hashes or fixed words, never names out of a data set."""
    return cache_dir().joinpath("images", *parts)


def obtain(key: str, make: Callable[[Path], Json], room: int) -> Entry:
    """The cached set, made first if it is missing or damaged.

    Args:
        key: hex that names everything the set depends on.
        make: fills the folder it is given with ``.npy`` files and returns what ``meta.json`` shall
            say.
        room: bytes that it will take, checked beforehand.

    Raises:
        ArtifactError: the cache cannot be written.
    """
    folder = entry_folder(key)
    entry = _verified(folder)
    if entry is not None:
        return entry
    with _writing(), locked(folder, "decoding these images") as alone:
        entry = _verified(folder)  # another process may have made it while this one waited
        if entry is not None:
            return entry
        _clear(folder, leftovers=alone)
        free = shutil.disk_usage(folder.parent).free
        if free < room:
            raise OSError(errno.ENOSPC, f"{room:,} bytes are needed, {free:,} are free")
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key}."))
        try:
            meta = make(building)
            _seal(building, meta)
            building.chmod(0o755)
            try:
                building.rename(folder)
            except OSError:
                if alone or _verified(folder) is None:
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    entry = _verified(folder)
    if entry is None:
        raise ArtifactError(_unwritable("what was just written cannot be read back"))
    return entry


def write_memo(path: Path, content: Json) -> None:
    """Write a small JSON file of the cache atomically.

    Raises:
        ArtifactError: the cache cannot be written.
    """
    with _writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".memo.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)


def _seal(folder: Path, meta: Json) -> None:
    """Write ``meta.json`` last, with size and digest of every array and of itself."""
    files = {path.name: _digest(path) for path in sorted(folder.glob("*.npy"))}
    body = {"format": FORMAT, "files": files, **meta}
    text = json.dumps({"sha256": _hash_json(body), **body}, indent=1)
    with (folder / "meta.json").open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _verified(folder: Path) -> Entry | None:
    """The set if it is there and whole; what is damaged is said and counts as missing."""
    if not folder.exists():
        return None
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        said = meta.pop("sha256")
        if said != _hash_json(meta) or meta["format"] != FORMAT:
            raise ValueError("meta.json does not match its checksum")
        for name, digest in meta["files"].items():
            if _digest(folder / name) != digest:
                raise ValueError(f"{name} does not match its size and checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log(f"the cached images in {folder} are damaged ({error}); they are made anew")
        return None
    return Entry(folder, meta)


def _digest(path: Path) -> list[int | str]:
    """Size and SHA-256: of all of a small file, of blocks all through a large one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= CHECK_WHOLE_BYTES:
            return [size, hashlib.file_digest(file, "sha256").hexdigest()]
        digest = hashlib.sha256()
        for block in range(_BLOCKS):
            file.seek(max(size - _BLOCK_BYTES, 0) * block // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
        return [size, digest.hexdigest()]


def _hash_json(content: Json) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _clear(folder: Path, *, leftovers: bool) -> None:
    """Remove a damaged set, and under its lock what killed builders left."""
    shutil.rmtree(folder, ignore_errors=True)
    if leftovers:
        for left in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _writing() -> Iterator[None]:
    """Turn what the system refuses into an error that says where else the cache can go."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(_unwritable(error.strerror or str(error))) from error


def _unwritable(reason: str) -> str:
    return (
        f"cannot write the cache of decoded images in {entry_folder()}: {reason}; free some space, "
        "or set DANCE_CACHE "
        "to a folder that can be written"
    )
