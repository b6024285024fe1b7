"""ImageSet: the index by class, and what it refuses to be."""

import dataclasses

import pytest
import torch

from dance.core.errors import DataError
from dance.data import ImageSet

LABELS = [2, 0, 2, 1, 0, 2]


def small(**changes):
    parts = {
        "images": torch.arange(6 * 3 * 4 * 4, dtype=torch.uint8).reshape(6, 3, 4, 4),
        "labels": torch.tensor(LABELS),
        "classes": ("a", "b", "c", "empty"),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
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
    assert (images.side, images.channels, images.num_classes) == (4, 3, 4)


def test_to_keeps_everything_else():
    images = small()
    moved = images.to("cpu")
    assert torch.equal(moved.images, images.images)
    assert moved.rows(2).tolist() == [0, 2, 5]
    assert (moved.classes, moved.mean, moved.name) == (images.classes, images.mean, images.name)


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
        ({"mean": (0.5,)}, "one number a channel"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(DataError, match=said.replace("(", r"\(").replace(")", r"\)")):
        small(**changes)
