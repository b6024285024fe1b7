"""Read tables in the Hugging Face image layout: a struct {bytes, path} and an integer label."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dance.core.errors import DataError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label", "labels")


def columns(names: Sequence[str], where: str) -> tuple[str, str]:
    """The names of the image column and of the label column.

    Raises:
        DataError: one of them is missing; the message lists the columns that exist.
    """
    image = next((name for name in IMAGE_COLUMNS if name in names), None)
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    if image is None or label is None:
        raise DataError(
            f"{where} must have an image column ({' or '.join(IMAGE_COLUMNS)}) and a label column "
            f"({' or '.join(LABEL_COLUMNS)}): it has {', '.join(names) or 'none'}; rename them"
        )
    return image, label


def integers(column: pa.ChunkedArray, where: str) -> npt.NDArray[np.int64]:
    """The labels in a column, (n,) int64.

    Raises:
        DataError: the column holds something else than integers, or has empty cells.
    """
    if not pa.types.is_integer(column.type):
        raise DataError(f"labels must be whole numbers from 0 on: {where} holds {column.type}")
    if column.null_count:
        raise DataError(
            f"every image must have a label: {where} has {column.null_count} empty cells"
        )
    return np.asarray(column.to_numpy()).astype(np.int64)


def encoded(column: pa.ChunkedArray, where: str) -> Iterator[bytes]:
    """The encoded images in a column; an empty cell gives ``b""``, which :func:`decode` refuses.

    Raises:
        DataError: the column holds something else than encoded images.
    """
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = column.combine_chunks().field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise DataError(
            f"{where} must hold encoded images, as binary or as a struct {{bytes, path}}: it holds "
            f"{kind}"
        )
    return (content or b"" for content in column.to_pylist())


def class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> tuple[str, ...]:
    """The class names in the metadata that ``datasets`` writes, or an empty tuple without any."""
    try:
        described: Any = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        names = described["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
