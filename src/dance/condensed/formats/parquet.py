"""Parquet in the Hugging Face image layout, with a dataset card.

``datasets.load_dataset(folder)`` opens it with ``Image`` and ``ClassLabel`` features, and so does
``load_dataset("parquet", data_files=...)``, because they are in the schema of the file.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from torch import Tensor

from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.formats.png import encode
from dance.condensed.formats.whitening import FILE as WHITENING
from dance.condensed.formats.whitening import write_whitening
from dance.condensed.score import Score
from dance.core.format import markdown_rows, plural, span
from dance.data.normalization import Normalization

FILE = "data/train-00000-of-00001.parquet"
"""Name of the only shard of a train split on the hub."""
_ROWS = 100
"""Rows of a row group, as the hub recommends for images."""


def write_parquet(content: Content, folder: Path) -> None:
    """Write the images as one shard and the card as README.md."""
    names = distinct(content.source.classes)
    table = as_table(content.to_uint8(), content.labels, content.soft, names)
    place = folder / FILE
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


def _normalized(normalization: Normalization) -> str:
    """Text about the normalization of the pixels."""
    mean, std = _numbers(normalization.mean), _numbers(normalization.std)
    if normalization.whitening is not None:
        return (
            "Networks were trained on ZCA-whitened pixels, `(image - whitening_mean) @ "
            "whitening_matrix` of the image in [0, 1] as one flat vector (channel, row, column); "
            f"`{WHITENING}` holds both, and unseen images must go through the same transform. The "
            "images of this folder are the inverse of the whitened pixels. Before whitening, the "
            f"data has mean {mean} and std {std}."
        )
    return f"Networks were fed `(pixel / 255 - mean) / std` with mean {mean} and std {std}."


def _training(content: Content) -> list[str]:
    """The section of the card about soft labels and learning rate, if there are any."""
    lines = []
    if content.soft is not None:
        lines += ["`soft_label` holds the class probabilities that experts give each image."]
    if content.source.learning_rate is not None:
        rate = content.source.learning_rate
        lines += [f"The learning rate {rate:.6g} was learned with the images."]
    return ["## Training", "", *lines, ""] if lines else []


def distinct(classes: Sequence[str]) -> list[str]:
    """Unique class names, as ``ClassLabel`` requires.

    >>> distinct(["crane", "crane"])
    ['crane', 'crane (2)']
    """
    names: list[str] = []
    for original in classes:
        name, number = original, 1
        while name in names:
            number += 1
            name = f"{original} ({number})"
        names.append(name)
    return names


def card(content: Content, names: Sequence[str]) -> str:
    """The dataset card: YAML for the hub, then text about the images and their use.

    Args:
        content: data of the export.
        names: distinct class names in label order.
    """
    source, origin = content.source, content.source.provenance
    title = f"{origin.get('dataset', 'images')}, condensed"
    method = str(origin.get("label") or origin.get("method") or "dataset condensation")
    counts = torch.bincount(content.labels).tolist()
    per_class = span(min(counts), max(counts))
    factor = content.decoder.factor
    shown = "decoded images" if factor == 1 else f"stored images of {factor}² small images"
    colour = "grey" if source.channels == 1 else "RGB"
    lines = [
        f"# {_plain(title)}",
        "",
        f"{len(content.labels)} synthetic {colour} images of {source.resolution} x "
        f"{source.resolution} pixels ({shown}), {per_class} for each of "
        f"{plural(len(names), 'class', 'classes')}, made with {_plain(method)} so that a network "
        "trained on them comes close to one trained on the original images.",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'images = load_dataset("path/to/this/folder", split="train")',
        "```",
        "",
        "## Pixels",
        "",
        f"{_normalized(source.normalization)} {content.rounding}; the `.safetensors` file of the "
        "set and its `npz` and `pt` exports hold the exact values.",
        "",
        *_training(content),
        "## Classes",
        "",
        *markdown_rows((">label", "name"), _label_rows(names)),
        "",
        *_scores(source.scores),
        "## Origin",
        "",
        *(
            f"* {key.replace('_', ' ')}: {_plain(origin[key])}"
            for key in ("dataset", "data_fingerprint", "method", "config_hash", "seed", "version")
            if key in origin
        ),
        *(f"* note: {_plain(note)}" for note in origin.get("notes", [])),
        f"* stored size: {source.storage_bytes()} bytes",
    ]
    front = _front_matter(title, names, len(content.labels), content.soft is not None)
    return f"---\n{front}---\n\n" + "\n".join(lines) + "\n"


def _front_matter(title: str, names: Sequence[str], count: int, soft: bool) -> str:
    """The card's YAML, made by a YAML writer, so that all names are escaped."""
    labels = {"names": {str(label): name for label, name in enumerate(names)}}
    features: list[dict[str, Any]] = [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": labels}},
    ]
    if soft:
        features.append({"name": "soft_label", "list": "float32"})
    size = "n<1K" if count < 1000 else "1K<n<10K" if count < 10_000 else "10K<n<100K"
    content = {
        "pretty_name": title,
        "task_categories": ["image-classification"],
        "tags": ["dataset-condensation", "dataset-distillation", "synthetic"],
        "size_categories": [size],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*"}],
            }
        ],
        "dataset_info": {"features": features},
    }
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def _scores(scores: Sequence[Score]) -> list[str]:
    """Lines of the tables of scores, separate for hard and soft labels; empty without scores."""
    kinds = dict.fromkeys(score.labels for score in scores)
    lines = []
    for kind in kinds:
        title = "## Scores" if kind == "hard" else f"## Scores with {_plain(kind)} labels"
        rows = [score for score in scores if score.labels == kind]
        lines += [title, "", *_table(rows), ""]
    return lines


def _table(scores: Sequence[Score]) -> list[str]:
    columns = ("trained on", "network", "protocol", ">test accuracy (%), last epoch", ">networks")
    rows = [
        (
            _plain(score.subject),
            _plain(score.network),
            _plain(score.protocol),
            str(score.last),
            str(score.repeats),
        )
        for score in scores
    ]
    return markdown_rows(columns, rows)


def _label_rows(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(str(label), _plain(name)) for label, name in enumerate(names)]


def _plain(value: object) -> str:
    """Text of unknown origin as one line of Markdown, with markup and HTML escaped.

    Bars are escaped by :func:`~dance.core.format.markdown_rows`, since only tables interpret them.
    """
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]()#+!~-])", r"\\\1", html.escape(text, quote=False))


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


FORMATS.register("parquet")(Format(write_parquet, is_folder=True, eight_bit=True))
