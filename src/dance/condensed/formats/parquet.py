"""Parquet in the Hugging Face image layout, with a dataset card, which names a learning rate.

``datasets.load_dataset(folder)`` opens it with ``Image`` and ``ClassLabel`` features, and so does
``load_dataset("parquet", data_files=...)``, because they are in the schema of the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from dance.condensed.card import PARQUET, card, distinct
from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.formats.png import encode
from dance.condensed.formats.whitening import write_whitening

_ROWS = 100
"""Rows of a row group, as the hub recommends for images."""


def write_parquet(content: Content, folder: Path) -> None:
    """Write the images as one shard and the card as README.md."""
    names = distinct(content.source.classes)
    table = as_table(content.to_uint8(), content.labels, content.soft, names)
    place = folder / PARQUET
    place.parent.mkdir(parents=True)
    pq.write_table(table, place, row_group_size=_ROWS)
    (folder / "README.md").write_text(card(content, names), encoding="utf-8")
    write_whitening(content, folder)


def as_table(images: Tensor, labels: Tensor, soft: Tensor | None, names: Sequence[str]) -> pa.Table:
    """The table that ``datasets`` reads, with its features in the schema.

    Args:
        images: (n, C, S, S) uint8, which become PNG files in the column ``image``.
        labels: (n,) int64, the column ``label``.
        soft: (n, K) float32, the column ``soft_label``; None for no such column.
        names: distinct class names in label order.
    """
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(names)},
    }
    rows = [{"bytes": png, "path": f"{i:05d}.png"} for i, png in enumerate(encode(images))]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("image", image), ("label", pa.int64())]
    columns = [pa.array(rows, image), pa.array(labels.numpy(), pa.int64())]
    if soft is not None:
        number = {"dtype": "float32", "_type": "Value"}
        features["soft_label"] = {"feature": number, "_type": "Sequence"}
        fields.append(("soft_label", pa.list_(pa.float32())))
        columns.append(pa.array(soft.tolist(), pa.list_(pa.float32())))
    schema = pa.schema(
        fields, metadata={"huggingface": json.dumps({"info": {"features": features}})}
    )
    return pa.Table.from_arrays(columns, schema=schema)


FORMATS.register("parquet")(Format(write_parquet, is_folder=True, eight_bit=True, rate=False))
