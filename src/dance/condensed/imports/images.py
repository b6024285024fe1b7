"""Encoded images: class folders, those of SRe2L and RDED among them, and parquet files.

SRe2L's code writes ``new007/class007_id003.jpg``, and RDED's ``00007/class00007_id00003.jpg``; the
number is the label. SRe2L's soft labels, folders ``epoch_0`` and on with files ``batch_0.tar``, are
of augmented images, other ones in each epoch. A condensed set has one soft label for each image, so
they are left out. Pixels are those of the files, of 8 bits. ``dance export`` writes
``whitening.npz`` beside the images of a set whose networks see them whitened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from dance.condensed.card import PARQUET
from dance.condensed.formats.whitening import FILE as WHITENING
from dance.condensed.imports import IMPORTS, Foreign, Found, ImportFormat
from dance.condensed.imports.arrays import whitening_of
from dance.core.errors import DataError
from dance.core.format import plural
from dance.data.checks import list_some
from dance.data.config import DataConfig
from dance.data.decode import opened, pixels_of
from dance.data.scan import folders
from dance.data.sources import SOURCES, Source
from dance.data.sources.npz import read_arrays
from dance.data.whitening import Whitening

_EPOCH = re.compile(r"epoch_\d+")
_SOFT = "soft_label"
"""Column of parquet files with a list of probabilities, as ``dance export`` writes it."""


def _places(found: Found, layout: str) -> list[Path]:
    """The folders and files of a layout among those that were found."""
    kind = SOURCES.get(layout)
    paths = [value for value in found.values.values() if isinstance(value, Path)]
    return [path for path in paths if not _epochs(path) and kind.recognises(str(path))]


def _epochs(path: Path) -> list[str]:
    """Names of the folders of soft labels of each epoch in a folder."""
    return list(filter(_EPOCH.fullmatch, folders(path))) if path.is_dir() else []


def _is(found: Found, layout: str) -> bool:
    rest = [path for path in found.paths if not _epochs(path)]
    return len(rest) == 1 and _places(found, layout) == rest


def _read_folder(found: Found) -> Foreign:
    source = SOURCES.get("folder").open(str(_places(found, "folder")[0]), DataConfig())
    notes = [
        f"left out are the soft labels in {path.name}, which are of augmented images in "
        f"{plural(len(_epochs(path)), 'epoch')}: a set has one for each image"
        for path in found.paths
        if _epochs(path)
    ]
    images, labels = _pixels(source)
    return Foreign(
        images,
        labels,
        classes=source.classes,
        whitening=_whitening(found),
        notes=(*notes, *_notes(source)),
    )


def _read_parquet(found: Found) -> Foreign:
    source = SOURCES.get("parquet").open(str(_places(found, "parquet")[0]), DataConfig())
    images, labels = _pixels(source)
    soft = [
        pq.read_table(path, columns=[_SOFT]).column(_SOFT).to_pylist()
        for name, path in source.files(range(len(source.classes)))
        if name.startswith("train/") and _SOFT in pq.read_schema(path).names
    ]
    rows = [row for part in soft for row in part]
    if rows and (len(rows) != len(labels) or len({len(row or ()) for row in rows}) != 1):
        raise DataError(
            f"{_SOFT} must be a list of as many numbers in every row of every file of the set: it "
            "is not; correct it, or leave the column out"
        )
    return Foreign(
        images,
        labels,
        classes=source.classes,
        soft=torch.tensor(rows, dtype=torch.float32) if rows else None,
        whitening=_whitening(found),
        notes=_notes(source),
    )


def _whitening(found: Found) -> Whitening | None:
    """The transform that ``dance export`` writes beside images whose networks see them whitened.

    It lies in the folder with the images, or above the folder ``data`` of the parquet export.

    Raises:
        DataError: the file holds something else.
    """
    for path in found.paths:
        folder = path.resolve() if path.is_dir() else path.resolve().parent
        places = [folder / WHITENING]
        places += [folder.parent / WHITENING] if folder.name == Path(PARQUET).parent.name else []
        for place in filter(Path.is_file, places):
            arrays = read_arrays(place)
            if not {"whitening_mean", "whitening_matrix"} <= arrays.keys():
                raise DataError(
                    f"{place} must hold whitening_mean and whitening_matrix: it holds "
                    f"{list_some(sorted(arrays)) or 'nothing'}; move it away if the images are not "
                    "of a whitened set"
                )
            return whitening_of(arrays)
    return None


def _notes(source: Source) -> tuple[str, ...]:
    unused = [f"its {split} split is not used" for split in source.splits if split != "train"]
    return (*source.notes, *unused)


def _pixels(source: Source) -> tuple[torch.Tensor, torch.Tensor]:
    """All training images of a source as they are, (n, C, S, S) uint8, and their labels (n,).

    Raises:
        DataError: an image cannot be read, or they are not square and of one size.
    """
    every = range(len(source.classes))
    labels = torch.from_numpy(source.labels("train", every))
    images = list(_each(source))
    sizes = {image.shape[:2] for image in images}
    if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
        found = ", ".join(f"{width} x {height}" for height, width in sorted(sizes)[:5])
        raise DataError(
            f"the images of {source.name} must be square and of one size: they are {found}; bring "
            "them to one size first"
        )
    if all(image.ndim == 2 for image in images):
        return torch.from_numpy(np.stack(images))[:, None], labels
    colour = [np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image for image in images]
    return torch.from_numpy(np.stack(colour)).permute(0, 3, 1, 2).contiguous(), labels


def _each(source: Source) -> Iterator[npt.NDArray[np.uint8]]:
    for record in source.records("train", range(len(source.classes))):
        with opened(record) as image:
            yield pixels_of(image, record.where)


IMPORTS.register("folder")(
    ImportFormat(
        title="class folders of images, such as SRe2L's and RDED's",
        method="Set",
        recognises=lambda found: _is(found, "folder"),
        read=_read_folder,
    )
)
IMPORTS.register("parquet")(
    ImportFormat(
        title="parquet files of images",
        method="Set",
        recognises=lambda found: _is(found, "parquet"),
        read=_read_parquet,
    )
)
