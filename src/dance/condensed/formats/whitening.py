"""Export of the ZCA transform with the images, for sets whose networks see whitened pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dance.condensed.formats import Content
from dance.core.progress import log

FILE = "whitening.npz"
"""File of an exported folder with ``whitening_mean`` and ``whitening_matrix``."""


def whitening_arrays(content: Content) -> dict[str, npt.NDArray[np.float32]]:
    """The transform: network input = (flat image in [0,1] - mean) @ matrix.

    Returns:
        ``whitening_mean`` (D,) and ``whitening_matrix`` (D,D) float32 with D = C*S*S, of images
        that are flattened in the order channel, row, column; empty for sets without ZCA.
    """
    white = content.source.normalization.whitening
    if white is None:
        return {}
    return {
        "whitening_mean": white.mean.cpu().numpy(),
        "whitening_matrix": white.matrix.cpu().numpy(),
    }


def write_whitening(content: Content, folder: Path) -> None:
    """Write the transform to :data:`FILE` in a folder, and log it; does nothing without ZCA."""
    if arrays := whitening_arrays(content):
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        (folder / FILE).write_bytes(buffer.getbuffer())
        log(
            "the images are the inverse of the whitened pixels that networks are trained on; "
            f"{FILE} contains the transform"
        )
