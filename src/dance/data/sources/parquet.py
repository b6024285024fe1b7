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
from dance.data.config import DataConfig
from dance.data.labels import Raw, number
from dance.data.sources import SOURCES, Labels, Layout, Record, Source, starts
from dance.data.tables import class_names, columns, encoded, labels

_SPLIT = re.compile(r"(?:^|[-_./])(train|test|val)(?:ing|id|idation)?(?=[-_./])")
_MAGIC = b"PAR1"
_BATCH = 256
"""Rows that are read at a time: a few MB of JPEG images."""


def _is_parquet(location: str) -> bool:
    path = Path(location)
    if path.is_dir():
        return any(path.glob("*.parquet")) or any(path.glob("*/*.parquet"))
    if path.suffix != ".parquet":
        return starts(path, 4) == _MAGIC
    return path.is_file() or any(path.parent.glob(path.name))


def open_parquet(location: str, config: DataConfig) -> Source:
    """Open a file, the files of a pattern such as ``photos/*.parquet``, or those in a folder."""
    path = Path(location)
    if path.is_dir():
        files = sorted([*path.glob("*.parquet"), *path.glob("*/*.parquet")])
        return Parquet(path.resolve().name, path, files, config.label_column)
    if path.is_file():
        return Parquet(path.stem, path.parent, [path], config.label_column)
    files = sorted(path.parent.glob(path.name))
    return Parquet(path.parent.resolve().name, path.parent, files, config.label_column)


class Parquet(Source):
    """The shards of one set; if no file is named ``train*``, all of them are the train split.

    Args:
        name: of the set.
        root: folder relative to which the files are named.
        files: at least one parquet file.
        label_column: holds the labels (None: the only column with a common name).

    Raises:
        DataError: a file is damaged, a column is missing, a label is out of range, or the splits
            have different classes.
    """

    def __init__(
        self, name: str, root: Path, files: Sequence[Path], label_column: str | None = None
    ) -> None:
        self.name = name
        self._root = root
        self._label_column = label_column
        by_split: dict[str, list[Path]] = {}
        for file in files:
            match = _SPLIT.search(file.relative_to(root).as_posix())
            by_split.setdefault(match[1] if match else "", []).append(file)
        self._shards = {"train": by_split.get("train") or list(files)}
        read = {"train": self._read_labels(self._shards["train"])}
        if "train" in by_split:
            named = [by_split[split] for split in ("test", "val") if split in by_split]
            read |= self._find_test(named)
        self.splits = tuple(self._shards)
        names = {split: self._names(shards[0]) for split, shards in self._shards.items()}
        labelled = number(name, read, names)
        self.classes, self._labels, self.notes = labelled.classes, labelled.labels, labelled.notes

    def labels(self, split: str, keep: Collection[int]) -> Labels:
        """See :class:`Source`."""
        labels = self._labels[split]
        return labels[np.isin(labels, list(keep))]

    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """See :class:`Source`."""
        numbers = iter(self._labels[split].tolist())
        for path in self._shards[split]:
            with _opened(path) as file:
                image, _ = self._columns(file, path)
                rows = 0
                for batch in file.iter_batches(_BATCH, columns=[image]):
                    column = pa.chunked_array([batch.column(0)])
                    contents = encoded(column, f"column {image!r} of {path}")
                    for row, content in enumerate(contents, start=rows):
                        number = next(numbers)
                        if number in keep:
                            yield Record(f"{path} row {row}", number, content)
                    rows += batch.num_rows

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """All shards of the splits that are used."""
        return [
            (f"{split}/{path.relative_to(self._root).as_posix()}", path)
            for split, paths in self._shards.items()
            for path in paths
        ]

    def _find_test(self, candidates: Sequence[list[Path]]) -> dict[str, Raw]:
        """Take the first split with labels; ImageNet's published test split has -1 everywhere."""
        for shards in candidates:
            labels = self._read_labels(shards)
            if len(labels) and (isinstance(labels, list) or (labels >= 0).any()):
                self._shards["test"] = shards
                return {"test": labels}
        return {}

    def _columns(self, file: pq.ParquetFile, path: Path) -> tuple[str, str]:
        return columns(file.schema_arrow.names, str(path), self._label_column)

    def _read_labels(self, shards: Sequence[Path]) -> Raw:
        parts: list[Raw] = []
        for path in shards:
            with _opened(path) as file:
                _, label = self._columns(file, path)
                column = file.read(columns=[label]).column(label)
                parts.append(labels(column, f"{label!r} of {path}"))
        texts = [part for part in parts if isinstance(part, list)]
        if not texts:
            return np.concatenate(parts)
        if len(texts) < len(parts):
            raise DataError(
                f"labels must be text in every file or numbers in every file: {shards[0]} and its "
                "neighbours hold both"
            )
        return [text for part in texts for text in part]

    def _names(self, path: Path) -> tuple[str, ...]:
        with _opened(path) as file:
            return class_names(file.schema_arrow.metadata, self._columns(file, path)[1])


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is damaged or no parquet file: {error}; fetch or copy it again"
        ) from error


SOURCES.register("parquet")(
    Layout(title="parquet files", recognises=_is_parquet, open=open_parquet)
)
