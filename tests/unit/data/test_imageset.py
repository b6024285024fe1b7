"""ImageSet: the index by class, and what it refuses to be."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dance.core.errors import DataError
from dance.data import ImageSet, Normalization

LABELS = [2, 0, 2, 1, 0, 2]


def small(**changes):
    parts = {
        "images": torch.arange(6 * 3 * 4 * 4, dtype=torch.uint8).reshape(6, 3, 4, 4),
        "labels": torch.tensor(LABELS),
        "classes": ("a", "b", "c", "empty"),
        "normalization": Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
        "name": "small",
        "split": "train",
        "fingerprint": "00",
    }
    return ImageSet(**(parts | changes))


def test_rows_are_the_positions_of_a_class_in_dataset_order():
    images = small()
    for label in range(4):
        expected = [row for row, other in enumerate(LABELS) if other == label]
        assert images.rows(label).tolist() == expected
        assert images.rows(label).dtype == torch.int64
    assert images.counts().tolist() == [2, 1, 3, 0]


def test_shape_properties():
    images = small()
    assert (images.resolution, images.channels, images.num_classes) == (4, 3, 4)


def test_to_keeps_everything_else():
    images = small()
    moved = images.to("cpu")
    assert torch.equal(moved.images, images.images)
    assert moved.rows(2).tolist() == [0, 2, 5]
    assert moved.normalization is images.normalization
    assert (moved.classes, moved.name) == (images.classes, images.name)


def test_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        small().name = "other"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": torch.zeros(6, 3, 4, 4)}, "float32"),
        ({"images": torch.zeros(6, 3, 4, 5, dtype=torch.uint8)}, "(6, 3, 4, 5)"),
        ({"images": torch.zeros(6, 2, 4, 4, dtype=torch.uint8)}, "1 or 3 channels: got 2"),
        ({"labels": torch.tensor(LABELS[:5])}, "(5,)"),
        ({"labels": torch.tensor(LABELS, dtype=torch.int32)}, "int32"),
        ({"labels": torch.tensor([0, 1, 2, 4, 0, 0])}, "0..3: got 0..4"),
        ({"labels": torch.tensor([0, 1, 2, -1, 0, 0])}, "got -1..2"),
        ({"normalization": Normalization((0.5,), (0.2,))}, "one number per channel"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(DataError, match=said.replace("(", r"\(").replace(")", r"\)")):
        small(**changes)


@pytest.mark.parametrize("classes", [range(0, 2), range(1, 3), range(2, 2), range(0, 4)])
def test_only_keeps_global_labels_and_the_order_within_classes(classes):
    labels = torch.tensor([3, 0, 2, 0, 1, 2, 3, 1, 0])
    images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 1, 2, 2).contiguous()
    whole = ImageSet(
        images, labels, tuple("abcd"), Normalization((0.5,), (0.2,)), "x", "train", "0"
    )
    part = whole.only(classes)
    assert part.classes == whole.classes
    assert part.fingerprint == whole.fingerprint
    for label in range(4):
        expected = images[whole.rows(label)] if label in classes else images[:0]
        assert torch.equal(part.images[part.rows(label)], expected)
    assert len(part.labels) == sum(int(whole.counts()[label]) for label in classes)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_only_reads_nothing_of_other_classes(tmp_path):
    """Of 16 classes in blocks of a memory-mapped file, two are taken, of which one is split."""
    each, classes = 256, 16
    shape = (each * classes, 3, 64, 64)
    np.save(tmp_path / "images.npy", np.ones(shape, dtype=np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    labels = torch.arange(classes).repeat_interleave(each)
    labels[-8:] = 3
    whole = ImageSet(
        torch.from_numpy(mapped), labels, tuple(map(str, range(classes))),
        Normalization((0,) * 3, (1,) * 3),
        "x", "train", "0",
    )  # fmt: skip
    side_by_side = whole.only(range(5, 7))
    assert _resident(tmp_path / "images.npy") < 1 << 20
    assert side_by_side.images.data_ptr() == whole.images[5 * each :].data_ptr()
    whole.only(range(3, 5))
    read = _resident(tmp_path / "images.npy")
    taken = (2 * each + 8) * 3 * 64 * 64
    assert taken <= read < taken + (7 << 20), "more than large pages at the borders of three blocks"
    assert read < whole.images.numel() / 3


def _resident(path):
    """Bytes of a mapped file that this process has touched."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found
