"""Image sets of the Hugging Face hub, read with the ``datasets`` library (extra ``[hf]``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dance.core import hub
from dance.core.errors import DataError
from dance.core.libraries import check_library
from dance.core.progress import log
from dance.data.config import DataConfig
from dance.data.labels import Raw, number
from dance.data.sources import SOURCES, Layout, Record, Source
from dance.data.splits import used_splits
from dance.data.tables import columns, labels, no_labels

_PREFIX = "hf:"
_BATCH = 256


def open_hub(location: str, config: DataConfig) -> Source:
    """Open ``hf:owner/name``, or ``hf:owner/name:subset`` for a repository of several sets."""
    repository, _, subset = location.removeprefix(_PREFIX).partition(":")
    if not hub.REPOSITORY.fullmatch(repository):
        raise DataError(f"a set of the hub must be given as hf:owner/name: got {location!r}")
    splits = _fetch(repository, subset or None, config.offline)
    return Hub(repository, splits, config)


class Hub(Source):
    """The splits of a repository; validation replaces a test split that has no labels.

    Args:
        repository: such as ``"uoft-cs/cifar10"``.
        splits: a ``datasets.Dataset`` by name of the split.
        config: label column and test split that the user chose.

    Raises:
        DataError: the train split or a column is missing, or a label is out of range.
    """

    chooses_test = True
    has_columns = True

    def __init__(self, repository: str, splits: dict[str, Any], config: DataConfig) -> None:
        self.name = repository.rpartition("/")[2] or "data"
        self._repository = repository
        where = f"{_PREFIX}{repository}"
        if "train" not in splits:
            raise DataError(
                f"{where} must have a train split: it has {', '.join(splits) or 'none'}"
            )
        train = splits["train"]
        self._image, self._label = columns(train.column_names, where, config.label_column)
        read = {
            name: self._read_labels(split, name == "train")
            if self._label in split.column_names
            else no_labels(len(split))
            for name, split in splits.items()
        }
        used, notes = used_splits(where, read, config.test_split)
        self._data = {split: splits[name] for split, name in used.items()}
        self.splits = tuple(self._data)
        names = {split: self._names(data) for split, data in self._data.items()}
        labelled = number(where, {split: read[name] for split, name in used.items()}, names)
        self.classes, self._labels = labelled.classes, labelled.labels
        self.notes = (*labelled.notes, *notes)

    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """See :class:`Source`; only rows of the classes in ``keep`` are read."""
        rows = np.flatnonzero(np.isin(self._labels[split], list(keep)))
        where = f"{_PREFIX}{self._repository} {split}"
        data = self._data[split].with_format("arrow")
        for first in range(0, len(rows), _BATCH):
            chosen = rows[first : first + _BATCH]
            cells = data[chosen.tolist()].column(self._image).to_pylist()
            for row, cell in zip(chosen.tolist(), cells, strict=True):
                yield Record(
                    f"{where} row {row}", int(self._labels[split][row]), _content(cell, where)
                )

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """The Arrow files in the cache of the ``datasets`` library."""
        return [
            (f"{split}/{number}", Path(entry["filename"]))
            for split, data in self._data.items()
            for number, entry in enumerate(data.cache_files)
        ]

    def _read_labels(self, data: Any, required: bool) -> Raw:
        table = data.select_columns([self._label]).with_format("arrow")[:]
        where = f"{_PREFIX}{self._repository}"
        return labels(table.column(self._label), where, required=required)

    def _names(self, data: Any) -> tuple[str, ...]:
        return tuple(getattr(data.features[self._label], "names", None) or ())


def _content(cell: Any, where: str) -> bytes | Path:
    """An encoded image: its bytes, or the path of the file to which the library unpacked it."""
    if isinstance(cell, dict) and {"bytes", "path"} <= cell.keys():
        if cell["bytes"] is None and cell["path"]:
            return Path(cell["path"])
        return cell["bytes"] or b""
    raise DataError(f"the image column of {where} must hold images: it holds {type(cell).__name__}")


def _fetch(repository: str, subset: str | None, offline: bool) -> dict[str, Any]:
    """Download all splits of a repository; with ``offline``, only use what was downloaded before.

    Raises:
        DataError: the library is not installed, or the repository cannot be downloaded.
    """
    check_library("datasets", "hf", f"fetching hf:{repository}", DataError)
    how = " (offline)"
    if not offline:
        place = hub.place()
        offline = not hub.reachable(*place)
        how = f" (no network: no connection to {place[0]} within {hub.SECONDS} seconds)"
        log(
            f"no connection to {place[0]}: {repository} is looked for in the cache of the hub only"
            if offline
            else f"downloading {repository} from the Hugging Face hub, unless it is in its cache"
        )
    try:
        import datasets

        with hub.offline() if offline else nullcontext():
            loaded = datasets.load_dataset(repository, subset)
    except Exception as error:  # the library can raise an exception of any type
        reason = str(error).strip() or type(error).__name__
        raise DataError(
            f"cannot fetch hf:{repository}{how if offline else ''}: {reason}"
        ) from error
    return dict(loaded)


SOURCES.register("hub")(
    Layout(
        title="a set of the Hugging Face hub",
        recognises=lambda location: location.startswith(_PREFIX),
        open=open_hub,
        advised=False,
    )
)
