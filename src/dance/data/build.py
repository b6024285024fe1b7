"""Decoding a source into the files of a cache folder, image by image, in parallel."""

from __future__ import annotations

import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from dance.core.errors import DataError
from dance.core.progress import Task
from dance.core.rng import generator
from dance.core.storage import Json
from dance.data.cache import ArrayFile
from dance.data.checks import check_classes
from dance.data.decode import BadImageError, decode
from dance.data.find import Found
from dance.data.parallel import ordered
from dance.data.sources import Labels, Pixels, Record

SPLITS = ("train", "test")


class Build:
    """One set on its way into a folder.

    Args:
        folder: gets ``<split>_images.npy`` (N, C, S, S) uint8 and ``<split>_labels.npy`` (N,)
            int64.
        classes: their names.
        side: S in pixels.
        channels: C, 1 or 3.
        skip_bad: leave out images that cannot be used instead of stopping.
    """

    def __init__(
        self, folder: Path, classes: tuple[str, ...], side: int, channels: int, *, skip_bad: bool
    ) -> None:
        self._classes, self._side, self._channels = classes, side, channels
        self._skip_bad = skip_bad
        shape = (channels, side, side)
        self._images = {s: ArrayFile(folder / f"{s}_images.npy", shape, "|u1") for s in SPLITS}
        self._labels = {s: ArrayFile(folder / f"{s}_labels.npy", (), "<i8") for s in SPLITS}
        self._counts = {split: [0] * len(classes) for split in SPLITS}
        self._histogram = np.zeros((channels, 256), dtype=np.int64)
        self._skipped: list[tuple[str, str]] = []

    def run(
        self,
        found: Found,
        kept: dict[int, int],
        held_out: npt.NDArray[np.bool_] | None,
        task: Task,
    ) -> Json:
        """Decode everything.

        Args:
            found: the source.
            kept: labels of the source to labels of the set.
            held_out: which train records go to the test split, (n,); None: the source has one.
            task: advanced by each image.

        Returns:
            What ``meta.json`` shall say.

        Raises:
            DataError: an image cannot be used, or too few are left of a class.
        """
        with warnings.catch_warnings():
            # decode() refuses such images itself, by name
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            for split in found.source.splits:
                records = found.source.records(split, kept)
                with closing(ordered(self._decode, records)) as decoded:
                    for row, (record, pixels) in enumerate(decoded):
                        into = "test" if held_out is not None and held_out[row] else split
                        self._put(into, record, kept[record.label], pixels)
                        task.advance()
        for file in (*self._images.values(), *self._labels.values()):
            file.close()
        self._check(found)
        mean, std = moments(self._histogram)
        return {
            "name": found.name,
            "side": self._side,
            "channels": self._channels,
            "mean": mean,
            "std": std,
            "counts": self._counts,
            "skipped": self._skipped,
        }

    def _decode(self, record: Record) -> tuple[Record, Pixels | BadImageError]:
        try:
            return record, decode(record, self._side, self._channels)
        except BadImageError as error:
            return record, error

    def _put(self, split: str, record: Record, label: int, pixels: Pixels | BadImageError) -> None:
        if isinstance(pixels, BadImageError):
            if not self._skip_bad:
                raise DataError(bad_image(str(pixels))) from pixels
            self._skipped.append((_printable(record.where), _printable(str(pixels))))
            return
        self._images[split].append(pixels)
        self._labels[split].append(np.array(label))
        self._counts[split][label] += 1
        if split == "train":
            for channel, counts in zip(pixels, self._histogram, strict=True):
                counts += np.bincount(channel.ravel(), minlength=256)

    def _check(self, found: Found) -> None:
        """Refuse a set that lost a whole class to bad images."""
        train = np.repeat(np.arange(len(self._classes)), self._counts["train"])
        why = " that can be read in the train split"
        check_classes(found.name, self._classes, train, 1, why)
        if not sum(self._counts["test"]):
            raise DataError(f"no image of the test split of {found.name} can be read")


def hold_out(labels: Labels, count: int, fraction: float) -> npt.NDArray[np.bool_]:
    """Which images are held out where a set has no test split: the same share of every class.

    Drawn with a fixed seed, so that a run's seed never moves an image from train to test.

    Args:
        labels: (n,).
        count: K.
        fraction: share of each class; at least one image stays on either side.

    Returns:
        (n,) bool, True for test.
    """
    held = np.zeros(len(labels), dtype=np.bool_)
    for label in range(count):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            continue
        size = min(max(round(len(rows) * fraction), 1), len(rows) - 1)
        order = torch.randperm(len(rows), generator=generator(0, "hold-out", label)).numpy()
        held[rows[order[:size]]] = True
    return held


def moments(histogram: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels in [0, 1] from counts of the 256 levels.

    Args:
        histogram: (C, 256) counts.

    Returns:
        Two lists of C numbers; a channel of one level gets std 1, so that nothing is divided by 0.
    """
    level = np.arange(256, dtype=np.float64) / 255
    weight = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weight @ level
    std = np.sqrt((weight * (level - mean[:, None]) ** 2).sum(axis=1))
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def bad_image(reason: str) -> str:
    """The message about an image that stops a set from being loaded."""
    return f"{reason}. Repair or remove it, or leave out what cannot be used with --skip-bad"


def _printable(text: str) -> str:
    """File names may hold bytes that are no UTF-8; what is stored must not."""
    return text.encode("utf-8", "backslashreplace").decode()
