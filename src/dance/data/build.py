"""Decode the images of a source, in parallel, into the files of a cache folder."""

from __future__ import annotations

import hashlib
import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
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
from dance.data.find import LocatedSource
from dance.data.parallel import ordered_map
from dance.data.sources import Labels, Pixels, Record

SPLITS = ("train", "test")


@dataclass(frozen=True)
class DecodingPlan:
    """How one image set is decoded.

    Attributes:
        located: the source, with the classes that are taken from it.
        new_labels: maps each label of the source that is kept to its label in the set.
        held_out: (n,) bool, True for the train records that form the test split; None if the
            source has a test split.
        resolution: height and width S of the square images, in pixels.
        channels: C, 1 or 3.
        bits: significant bits of 16-bit grey images.
        skip_bad: leave out images that cannot be used, instead of stopping at the first one.
    """

    located: LocatedSource
    new_labels: dict[int, int]
    held_out: npt.NDArray[np.bool_] | None
    resolution: int
    channels: int
    bits: int
    skip_bad: bool

    def decode(self, record: Record) -> tuple[Record, Pixels | BadImageError]:
        """The record with its pixels (C, S, S) uint8, or with the error that explains its fault."""
        try:
            return record, decode(record, self.resolution, self.channels, self.bits)
        except BadImageError as error:
            return record, error


def build(plan: DecodingPlan, folder: Path, task: Task) -> Json:
    """Decode all images of both splits and write them to files.

    Args:
        plan: which images are decoded, and how.
        folder: receives ``<split>_images.npy`` (N, C, S, S) uint8 and ``<split>_labels.npy`` (N,)
            int64.
        task: the progress bar, advanced by one for each image.

    Returns:
        The content of ``meta.json``: name, resolution, channels, mean and standard deviation per
        channel of the train pixels in [0, 1], the highest level of a train pixel, images per class
        of each split, the images that were skipped, with the reasons, the digest of all pixels
        and labels, and what :func:`count_shared` gives.

    Raises:
        DataError: an image cannot be used, or a class has too few images left.
    """
    source, shape = plan.located.source, (plan.channels, plan.resolution, plan.resolution)
    histogram = np.zeros((plan.channels, 256), dtype=np.int64)
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    skipped: list[tuple[str, str]] = []
    digests = {split: hashlib.sha256() for split in SPLITS}
    keys = {split: array("Q") for split in SPLITS}
    with ExitStack() as stack, warnings.catch_warnings():
        # decode() refuses such images itself, with a message that names the image
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        files = {
            split: stack.enter_context(closing(ArrayFile(folder / f"{split}_images.npy", shape)))
            for split in SPLITS
        }
        for split in source.splits:
            records = source.records(split, plan.new_labels)
            decoded = stack.enter_context(closing(ordered_map(plan.decode, records)))
            for row, (record, pixels) in enumerate(decoded):
                task.advance()
                if isinstance(pixels, BadImageError):
                    if not plan.skip_bad:
                        raise DataError(bad_image(str(pixels))) from pixels
                    skipped.append((_printable(record.where), _printable(str(pixels))))
                    continue
                held_out = plan.held_out is not None and plan.held_out[row]
                target = "test" if held_out else split
                files[target].append(pixels)
                digests[target].update(pixels.tobytes())
                keys[target].append(image_key(pixels))
                labels[target].append(plan.new_labels[record.label])
                if target == "train":
                    histogram += level_counts(pixels)
        for split in SPLITS:
            files[split].finish()
            numbers = np.array(labels[split], dtype=np.int64)
            digests[split].update(numbers.tobytes())
            np.save(folder / f"{split}_labels.npy", numbers)
    name, classes = plan.located.name, plan.located.classes
    train = np.array(labels["train"], dtype=np.int64)
    check_classes(name, classes, train, 1, " that can be used for training")
    if not labels["test"]:
        raise DataError(f"no image of the test split of {name} can be used")
    mean, std = mean_and_std(histogram)
    counts = {
        split: np.bincount(labels[split], minlength=len(classes)).tolist() for split in SPLITS
    }
    return {
        "name": name,
        "resolution": plan.resolution,
        "channels": plan.channels,
        "mean": mean,
        "std": std,
        "brightest": int(np.flatnonzero(histogram.sum(axis=0))[-1]),
        "counts": counts,
        "skipped": skipped,
        "content": [digests[split].hexdigest() for split in SPLITS],
        "shared": count_shared({split: (keys[split], labels[split]) for split in SPLITS}),
    }


def image_key(pixels: Pixels) -> int:
    """A number below 2^64 that is the same for equal images, and differs for others.

    Among a million train and a hundred thousand test images, two that differ have the same number
    with a probability of about 1e-8.

    Args:
        pixels: (C, S, S) uint8.
    """
    return int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8])


def count_shared(splits: Mapping[str, tuple[Iterable[int], Sequence[int]]]) -> tuple[int, int]:
    """Count the test images that equal a train image.

    Args:
        splits: for ``"train"`` and ``"test"``, the :func:`image_key` and label of every image.

    Returns:
        Their number, and the number of those among them whose label none of the equal train images
        has.

    >>> count_shared({"train": ([5, 6, 6], [0, 1, 0]), "test": ([5, 6, 7], [1, 1, 1])})
    (2, 1)
    """
    train, test = (np.fromiter(splits[split][0], np.uint64) for split in SPLITS)
    common = np.intersect1d(train, test)
    pairs: list[list[tuple[int, int]]] = []
    for split, keys in zip(SPLITS, (train, test), strict=True):
        rows = np.isin(keys, common)
        labels = np.array(splits[split][1], dtype=np.int64)[rows]
        pairs.append(list(zip(keys[rows].tolist(), labels.tolist(), strict=True)))
    known = set(pairs[0])
    return len(pairs[1]), sum(pair not in known for pair in pairs[1])


def hold_out(labels: Labels, classes: Sequence[int], fraction: float) -> npt.NDArray[np.bool_]:
    """Choose the images that form the test split of a set without one, by class.

    The choice is random with a fixed seed, so the seed of a run never moves an image from train to
    test.

    Args:
        labels: (n,) int64, in the order of the set.
        classes: K numbers that key the choice: the labels themselves, or those that the classes
            have in the whole set if only some are used, so that the same images are held out.
        fraction: of each class that is held out, in (0, 1); at least one image of a class is held
            out and at least one is kept, and a class with a single image keeps it.

    Returns:
        (n,) bool, True for the images that are held out.
    """
    is_test = np.zeros(len(labels), dtype=np.bool_)
    for label, number in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            continue
        size = min(max(round(len(rows) * fraction), 1), len(rows) - 1)
        order = torch.randperm(len(rows), generator=keyed_generator(0, "hold-out", number)).numpy()
        is_test[rows[order[:size]]] = True
    return is_test


def mean_and_std(histogram: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels in [0, 1] per channel, from their histogram.

    Args:
        histogram: (C, 256) int64, how many pixels of a channel have each of the 256 levels.

    Returns:
        Two lists of C numbers. A constant channel has standard deviation 1, so that standardising
        it does not divide by 0.
    """
    level = np.arange(256, dtype=np.float64) / 255
    weight = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weight @ level
    std = np.sqrt((weight * (level - mean[:, None]) ** 2).sum(axis=1))
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def level_counts(pixels: Pixels) -> npt.NDArray[np.int64]:
    """Count the pixels (C, ...) uint8 of each of the 256 levels: (C, 256) int64."""
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in pixels])


def _printable(text: str) -> str:
    """Escape the bytes of a file name that are not valid UTF-8, so that the text can be stored."""
    return text.encode("utf-8", "backslashreplace").decode()
