"""Parquet files in the Hugging Face image layout; a file's name decides its split."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dance.core.errors import DataError
from dance.data.checks import check_range, check_same_classes
from dance.data.config import DataConfig
from dance.data.layout import class_names, columns, encoded, integers
from dance.data.sources import SOURCES, Labels, Record, Source

_SPLIT = re.compile(r"(?:^|[-_./])(train|test|val)(?:ing|id|idation)?(?=[-_./])")
_BATCH = 256
"""Rows that are read at a time: a few MB of JPEG images."""


@SOURCES.register("parquet")
def open_parquet(location: str, config: DataConfig) -> Source | None:
    """Open a file, the files of a pattern such as ``photos/*.parquet``, or those in a folder."""
    path = Path(location)
    if path.is_dir():
        root, name = path, path.resolve().name
        files = sorted([*path.glob("*.parquet"), *path.glob("*/*.parquet")])
    elif path.suffix == ".parquet":
        root, name = path.parent, path.stem
        files = [path] if path.is_file() else sorted(path.parent.glob(path.name))
        name = path.stem if path.is_file() else path.parent.resolve().name
    else:
        return None
    return Parquet(name, root, files) if files else None


class Parquet(Source):
    """The shards of one set; if no file is named ``train*``, all of them are the train split.

    Args:
        name: of the set.
        root: folder relative to which the files are named.
        files: at least one parquet file.

    Raises:
        DataError: a file is damaged, a column is missing, a label is out of range, or the splits
            have different classes.
    """

    def __init__(self, name: str, root: Path, files: Sequence[Path]) -> None:
        self.name = name
        self._root = root
        by_split: dict[str, list[Path]] = {}
        for file in files:
            match = _SPLIT.search(file.relative_to(root).as_posix())
            by_split.setdefault(match[1] if match else "", []).append(file)
        self._shards = {"train": by_split.get("train") or list(files)}
        self._labels = {"train": _labels(self._shards["train"])}
        if "train" in by_split:
            self._find_test([by_split[split] for split in ("test", "val") if split in by_split])
        self.splits = tuple(self._shards)
        self.classes = _names(self._shards["train"][0])
        if not self.classes:
            highest = int(self._labels["train"].max(initial=-1))
            self.classes = tuple(str(label) for label in range(highest + 1))
        for split, labels in self._labels.items():
            check_range(name, split, labels, len(self.classes))
            check_same_classes(name, self.classes, _names(self._shards[split][0]) or self.classes)

    def labels(self, split: str, keep: Collection[int]) -> Labels:
        """See :class:`Source`."""
        labels = self._labels[split]
        return labels[np.isin(labels, list(keep))]

    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """See :class:`Source`."""
        for path in self._shards[split]:
            with _opened(path) as file:
                image, label = columns(file.schema_arrow.names, str(path))
                row = 0
                for batch in file.iter_batches(_BATCH, columns=[image, label]):
                    table = pa.Table.from_batches([batch])
                    contents = encoded(table.column(image), f"column {image!r} of {path}")
                    numbers = table.column(label).to_pylist()
                    for content, number in zip(contents, numbers, strict=True):
                        if number in keep:
                            yield Record(f"{path} row {row}", number, content)
                        row += 1

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """All shards of the splits that are used."""
        return [
            (f"{split}/{path.relative_to(self._root).as_posix()}", path)
            for split, paths in self._shards.items()
            for path in paths
        ]

    def _find_test(self, candidates: Sequence[list[Path]]) -> None:
        """Take the first split with labels; ImageNet's published test split has -1 everywhere."""
        for shards in candidates:
            labels = _labels(shards)
            if len(labels) and (labels >= 0).any():
                self._shards["test"], self._labels["test"] = shards, labels
                return


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is damaged or no parquet file: {error}; fetch or copy it again"
        ) from error


def _labels(shards: Sequence[Path]) -> Labels:
    parts = []
    for path in shards:
        with _opened(path) as file:
            _, label = columns(file.schema_arrow.names, str(path))
            parts.append(integers(file.read(columns=[label]).column(label), f"{label!r} of {path}"))
    return np.concatenate(parts)


def _names(path: Path) -> tuple[str, ...]:
    with _opened(path) as file:
        return class_names(
            file.schema_arrow.metadata, columns(file.schema_arrow.names, str(path))[1]
        )
