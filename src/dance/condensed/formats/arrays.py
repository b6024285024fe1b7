"""Plain arrays: ``.npz`` for NumPy and ``.pt`` for PyTorch, with exact float pixels.

Both contain ``images`` (n, C, S, S) float32 in unit space, ``labels`` (n,) int64, ``classes``
(names in label order), ``mean`` and ``std`` (C,) float32 for ``(images - mean) / std``, and
``factor``, which is 1 unless stored images were exported; if the set has them, ``soft_labels``
(n, K) float32 probabilities, only of decoded images, and ``learning_rate``. If networks see
ZCA-whitened pixels, ``whitening_mean`` (D,) and ``whitening_matrix`` (D,D) float32 are the
transform, which replaces mean and std: network input is
(flat image - whitening_mean) @ whitening_matrix, with D = C*S*S in the order channel, row, column.
Both are read without unpickling (``numpy.load(allow_pickle=False)``,
``torch.load(weights_only=True)``), and the same set gives the same bytes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.formats.whitening import whitening_arrays


def write_npz(content: Content, path: Path) -> None:
    """Write a NumPy archive."""
    optional: dict[str, Any] = {name: np.asarray(part) for name, part in _optional(content).items()}
    optional.update(whitening_arrays(content))
    with path.open("wb") as file:  # given a path, numpy would append a suffix to its name
        np.savez(
            file,
            images=content.images.numpy(),
            labels=content.labels.numpy(),
            classes=np.array(content.source.classes),
            mean=np.array(content.source.normalization.mean, dtype=np.float32),
            std=np.array(content.source.normalization.std, dtype=np.float32),
            factor=np.array(content.decoder.factor),
            **optional,
        )


def write_pt(content: Content, path: Path) -> None:
    """Write a dictionary of plain tensors, names and numbers."""
    parts = {
        "images": content.images.contiguous(),
        "labels": content.labels,
        "classes": list(content.source.classes),
        "mean": torch.tensor(content.source.normalization.mean),
        "std": torch.tensor(content.source.normalization.std),
        "factor": content.decoder.factor,
        **_optional(content),
        **{name: torch.from_numpy(part) for name, part in whitening_arrays(content).items()},
    }
    save(parts, path)


def save(value: Any, path: Path) -> None:
    """Write plain values and tensors as PyTorch does, with the same bytes under every name."""
    buffer = io.BytesIO()  # given a path, torch would write the file's name into the file
    torch.save(value, buffer)
    path.write_bytes(buffer.getbuffer())


def _optional(content: Content) -> dict[str, Any]:
    """The parts that only some sets have."""
    rate, parts = content.source.learning_rate, {}
    if content.soft is not None:
        parts["soft_labels"] = content.soft.contiguous()
    return parts if rate is None else {**parts, "learning_rate": rate}


FORMATS.register("npz")(Format(write_npz, is_folder=False, eight_bit=False))
FORMATS.register("pt")(Format(write_pt, is_folder=False, eight_bit=False))
