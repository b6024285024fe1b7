"""How an expert sees the images of a condensed set; a file of a run, beside that of the set."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from dance.core.errors import ArtifactError
from dance.core.files import read_tensors, write_tensors

_KIND = "insight"


@dataclass(frozen=True, eq=False)
class Insight:
    """What an expert says about decoded images, and the training images that are like them to it.

    Attributes:
        expert: its number.
        real_images: number of training images among which neighbours were searched; 0 for none.
        train_images: number of training images.
        set_digest: of the set with hard labels.
        confidence: (m,) float32, the probability that the expert gives the label of each of
            ``CondensedSet.images()``.
        predicted: (m,) int64, the class that it finds most probable.
        shown: (s,) int64, rows of the images whose neighbours are stored.
        rows: (s,k) int64, rows in the training set of the images whose features are nearest to
            those of each shown image, the nearest first.
        labels: (s,k) int64, their labels.
        pictures: (s,k,C,P,P) uint8, these training images, shrunk if they are large.
    """

    expert: int
    real_images: int
    train_images: int
    set_digest: str
    confidence: Tensor
    predicted: Tensor
    shown: Tensor
    rows: Tensor
    labels: Tensor
    pictures: Tensor

    def save(self, path: Path) -> None:
        """Write one file without pickle, atomically.

        Raises:
            ArtifactError: it cannot be written.
        """
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        header = {name: part for name, part in parts.items() if name not in tensors}
        write_tensors(path, tensors, header, _KIND)


def load_insight(path: Path, images: int, classes: int) -> Insight:
    """Read a file that :meth:`Insight.save` wrote.

    Args:
        path: the file.
        images: m of the set that it is about.
        classes: K of that set.

    Raises:
        ArtifactError: it is missing or damaged, or its parts do not fit each other or the set.
    """
    tensors, header = read_tensors(path, _KIND)
    try:
        found = Insight(**{**header, **tensors})
        fits = (
            found.confidence.shape == found.predicted.shape == (images,)
            and found.rows.shape == found.labels.shape == found.pictures.shape[:2]
            and found.shown.shape == found.rows.shape[:1]
            and found.pictures.ndim == 5
            and found.pictures.dtype == torch.uint8
            and _within(found.shown, images)
            and _within(found.predicted, classes)
            and _within(found.labels, classes)
        )
    except (TypeError, AttributeError):
        fits = False
    if not fits:
        raise ArtifactError(f"{path} is damaged: delete it and run the same command again")
    return found


def _within(numbers: Tensor, end: int) -> bool:
    """Whether all are integers from 0 to below ``end``."""
    return numbers.dtype == torch.int64 and bool(((numbers >= 0) & (numbers < end)).all())
