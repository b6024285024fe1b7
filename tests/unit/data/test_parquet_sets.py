"""Parquet files of one set: shards are held against each other, and none is merged or dropped."""

import os

import pyarrow as pa
import pytest

from dance.core.errors import DataError
from dance.data import DataConfig, load

HALF = DataConfig(test_fraction=0.5)


@pytest.fixture
def shards(tmp_path, parquet, pixels):
    """``shards("train-0.parquet", …)``: four images of two classes in each; gives the folder."""

    def make(*names, classes="xy", **options):
        for number, name in enumerate(names):
            images = pixels(4, seed=number)
            parquet(tmp_path / "set" / name, images, [0, 1, 0, 1], classes, **options)
        return tmp_path / "set"

    return make


def read(root, **settings):
    config = DataConfig(test_fraction=0.5, **settings)
    train, test = load(str(root), "train", config), load(str(root), "test", config)
    notes = [note for note in train.notes if "held out" not in note]
    return len(train.labels), len(test.labels), notes


# Splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train.parquet", "Test.parquet"),
        ("training.parquet", "testing.parquet"),
        ("cifar10-train-00000-of-00001.parquet", "cifar10-test-00000-of-00001.parquet"),
        ("Training/0.parquet", "Testing/0.parquet"),
        ("data_train/0.parquet", "data_test/0.parquet"),
        ("default/train/0.parquet", "default/test/0.parquet"),
        ("0-train.parquet", "1-test.parquet"),
    ],
)
def test_splits_by_name(train, test, shards):
    root = shards(train, test)
    shards(train)
    assert read(root) == (4, 4, [])


def test_validation_is_the_test_split_where_there_is_none(shards):
    said = ["there is no test split, so the validation split 'dev' is the test split"]
    assert read(shards("train.parquet", "dev.parquet")) == (4, 4, said)


def test_an_unused_validation_split_is_said_and_may_be_chosen(shards):
    root = shards("train.parquet", "validation.parquet", "test.parquet")
    assert read(root) == (4, 4, ["the split 'validation' is not used"])
    assert read(root, test_split="val")[2][1] == "the split 'test' is not used"


def test_a_split_without_labels_is_said(shards, parquet, pixels):
    root = shards("train.parquet", "validation.parquet")
    parquet(root / "test.parquet", pixels(2), [-1, -1], "xy")
    assert read(root)[2] == [
        "there is no test split, so the validation split 'validation' is the test split",
        "the images in 'test' have no labels and are not used",
    ]


def test_files_that_name_no_split_are_said(shards):
    root = shards("train.parquet", "test.parquet", "extra.parquet")
    assert read(root) == (4, 4, ["no split is named by, and not used, 'extra.parquet'"])


def test_files_that_lie_deeper_are_said(shards):
    root = shards("train.parquet", "test.parquet", "more/of/train.parquet")
    said = "deeper than files of one set, and not used, 'more/of/train.parquet'"
    assert read(root) == (4, 4, [said])


def test_shards_that_are_missing_are_said(shards):
    root = shards("train-00000-of-00003.parquet", "train-00002-of-00003.parquet")
    said = "the split 'train' has 2 of 3 files: the others are missing, or were not named"
    assert read(root)[2] == [said]


@pytest.mark.parametrize(
    ("names", "of"),
    [
        (("train-00000-of-00003.parquet",), "1 of 3"),
        (("part-00000-of-00003.parquet", "part-00001-of-00003.parquet"), "2 of 3"),
    ],
)
def test_they_are_said_of_a_lone_file_and_without_splits(names, of, shards):
    notes = read(shards(*names))[2]
    assert f"the split 'train' has {of} files: the others are missing, or were not named" in notes


def test_files_of_one_set_without_splits(shards):
    assert read(shards("part-0.parquet", "part-1.parquet")) == (4, 4, [])


def test_files_of_several_names_without_splits_are_said(shards):
    said = ["the files 'cats.parquet', 'dogs.parquet' name no split, and are read as parts of one"]
    assert read(shards("cats.parquet", "dogs.parquet"))[2] == [f"{said[0]} set"]


def test_a_lone_test_file_is_said(shards):
    said = "'test.parquet' alone is read as the whole set, whatever its name"
    root = shards("test.parquet")
    assert read(root) == (2, 2, [said])
    assert read(root / "test.parquet") == (2, 2, [said])


def test_one_file_may_have_any_name(shards):
    assert read(shards("train-and-test.parquet")) == (2, 2, [])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("test.parquet", "val.parquet"), "one train split: it has 'test', 'val'"),
        (("data.parquet", "test.parquet"), "one train split: it has 'test' and 'data.parquet'"),
        (("train.parquet", "training.parquet"), "one train split: 'train', 'training' could be it"),
        (("train.parquet", "test.parquet", "testing.parquet"), "one test split: 'test', 'testing'"),
        (("a/train.parquet", "b/train.parquet"), "it holds several, 'a', 'b'"),
        (("a/train/0.parquet", "b/train/0.parquet"), "it holds several, 'a', 'b'"),
        (("a/0.parquet", "b/0.parquet"), "it holds several, 'a', 'b'"),
        (("mnist-train.parquet", "svhn-train.parquet"), "it holds several, 'mnist', 'svhn'"),
        (("cifar10-train.parquet", "cifar100-test.parquet"), "several, 'cifar10', 'cifar100'"),
        (("train.parquet", "a/test.parquet"), r"it holds several, '\.', 'a'"),
        (("train-test.parquet", "test.parquet"), "its name has several"),
        (("test/train.parquet", "test.parquet"), "its folder names another one"),
    ],
)
def test_sets_that_are_ambiguous_are_refused(names, said, shards):
    with pytest.raises(DataError, match=said):
        load(str(shards(*names)), "train", HALF)


def test_hidden_files_and_folders_called_like_files_are_passed_over(shards):
    root = shards("train.parquet", "test.parquet")
    (root / "._train.parquet").write_bytes(b"resource fork")
    (root / "empty.parquet").mkdir()
    assert read(root) == (4, 4, [])


# Shards


def test_a_shard_with_other_class_names_is_refused(shards, parquet, pixels):
    root = shards("train-0.parquet")
    for names in ("yx", "xz", None):
        parquet(root / "train-1.parquet", pixels(2), [0, 1], names)
        with pytest.raises(DataError, match=r"same class names: .*train-1.parquet has .*'x', 'y'"):
            load(str(root), "train", HALF)


def test_a_shard_with_other_columns_is_refused(shards, parquet, pixels):
    root = shards("train-0.parquet")
    for name, options in (("train-1", {"label": "labels"}), ("test-0", {"image": "img"})):
        parquet(root / f"{name}.parquet", pixels(2), [0, 1], "xy", **options)
        with pytest.raises(DataError, match=rf"same columns: .*{name}.* has .* and .*train-0"):
            load(str(root), "train", HALF)
        (root / f"{name}.parquet").unlink()


def test_a_shard_of_text_among_numbers_is_refused(shards, parquet, pixels):
    root = shards("train-0.parquet", classes=None)
    parquet(root / "train-1.parquet", pixels(2), ["0", "1"], kind=pa.string())
    with pytest.raises(DataError, match="text in every file or numbers in every file"):
        load(str(root), "train", HALF)


def test_a_pipe_among_the_files_is_never_opened(shards):
    root = shards("train-0.parquet")
    os.mkfifo(root / "train-1.parquet")
    with pytest.raises(DataError, match=r"train-1\.parquet must be a parquet file: it is a named"):
        load(str(root), "train", HALF)
    with pytest.raises(DataError, match=r"train-1\.parquet must be a parquet file"):
        load(str(root / "train-1.parquet"), "train", HALF)


# Labels


@pytest.mark.parametrize(
    ("label", "kind"), [(10**12, pa.int64()), (2**63 + 5, pa.uint64()), (2**64 - 1, pa.uint64())]
)
@pytest.mark.parametrize("names", [None, "xy"])
def test_labels_of_astronomic_size_are_refused(label, kind, names, tmp_path, parquet, pixels):
    path = parquet(tmp_path / "set.parquet", pixels(4), [0, 1, 0, label], names, kind=kind)
    with pytest.raises(DataError, match=str(label)):
        load(str(path), "train", HALF)


def test_labels_of_astronomic_size_in_arrays_are_refused(tmp_path, pixels):
    import numpy as np

    for label in (10**12, 2**63 + 5):
        labels = np.array([0, 1, 0, label], dtype=np.uint64)
        np.savez(tmp_path / "set.npz", images=pixels(4), labels=labels)
        with pytest.raises(DataError, match=str(label)):
            load(str(tmp_path / "set.npz"), "train", HALF)


def test_two_classes_of_one_name_are_refused(shards):
    with pytest.raises(DataError, match="a name of its own: 'cat' is given to several"):
        load(str(shards("train.parquet", classes=["cat", "cat"])), "train", HALF)
