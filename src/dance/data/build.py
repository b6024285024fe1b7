"""Decoding a source into the files of a cache folder, image by image, in parallel."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from dance.core.errors import DataError
from dance.core.files import Json
from dance.core.progress import Task
from dance.core.rng import keyed_generator
from dance.data.cache import ArrayFile
from dance.data.checks import check_classes
from dance.data.decode import BadImageError, bad_image, decode
from dance.data.find import Found
from dance.data.parallel import ordered
from dance.data.sources import Labels, Pixels, Record

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Plan:
    """How one set is to be decoded.

    Attributes:
        found: the source.
        kept: labels of the source to labels of the set.
        held_out: which train records go to the test split, (n,); None: the source has one.
        resolution: of the square images, in pixels.
        channels: 1 or 3.
        skip_bad: leave out images that cannot be used instead of stopping.
    """

    found: Found
    kept: dict[int, int]
    held_out: npt.NDArray[np.bool_] | None
    resolution: int
    channels: int
    skip_bad: bool

    def decode(self, record: Record) -> tuple[Record, Pixels | BadImageError]:
        """One image, or what is wrong with it."""
        try:
            return record, decode(record, self.resolution, self.channels)
        except BadImageError as error:
            return record, error


def build(plan: Plan, folder: Path, task: Task) -> Json:
    """Decode everything.

    Args:
        plan: what and how.
        folder: gets ``<split>_images.npy`` (N, C, S, S) uint8 and ``<split>_labels.npy`` (N,)
            int64.
        task: advanced by each image.

    Returns:
        What ``meta.json`` shall say.

    Raises:
        DataError: an image cannot be used, or too few are left of a class.
    """
    source, shape = plan.found.source, (plan.channels, plan.resolution, plan.resolution)
    histogram = np.zeros((plan.channels, 256), dtype=np.int64)
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    skipped: list[tuple[str, str]] = []
    with ExitStack() as stack, warnings.catch_warnings():
        # decode() refuses such images itself, by name
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        files = {
            split: stack.enter_context(closing(ArrayFile(folder / f"{split}_images.npy", shape)))
            for split in SPLITS
        }
        for split in source.splits:
            records = source.records(split, plan.kept)
            decoded = stack.enter_context(closing(ordered(plan.decode, records)))
            for row, (record, pixels) in enumerate(decoded):
                task.advance()
                if isinstance(pixels, BadImageError):
                    if not plan.skip_bad:
                        raise DataError(bad_image(str(pixels))) from pixels
                    skipped.append((_printable(record.where), _printable(str(pixels))))
                    continue
                into = "test" if plan.held_out is not None and plan.held_out[row] else split
                files[into].append(pixels)
                labels[into].append(plan.kept[record.label])
                if into == "train":
                    histogram += _levels(pixels)
        for split in SPLITS:
            files[split].finish()
            np.save(folder / f"{split}_labels.npy", np.array(labels[split], dtype=np.int64))
    name, classes = plan.found.name, plan.found.classes
    train = np.array(labels["train"], dtype=np.int64)
    check_classes(name, classes, train, 1, " that can be used for training")
    if not labels["test"]:
        raise DataError(f"no image of the test split of {name} can be used")
    mean, std = moments(histogram)
    counts = {
        split: np.bincount(labels[split], minlength=len(classes)).tolist() for split in SPLITS
    }
    return {
        "name": name,
        "resolution": plan.resolution,
        "channels": plan.channels,
        "mean": mean,
        "std": std,
        "counts": counts,
        "skipped": skipped,
    }


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
        order = torch.randperm(len(rows), generator=keyed_generator(0, "hold-out", label)).numpy()
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


def _levels(pixels: Pixels) -> npt.NDArray[np.int64]:
    """(C, S, S) uint8 to (C, 256) counts."""
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in pixels])


def _printable(text: str) -> str:
    """File names may hold bytes that are no UTF-8; what is stored must not."""
    return text.encode("utf-8", "backslashreplace").decode()
