"""A folder of class folders, with or without ``train/`` and ``test/`` (or ``val/``) above them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from dance.core.errors import DataError
from dance.data.checks import check_same_classes
from dance.data.sources import SOURCES, Labels, Layout, Record, Source, folders

TEST_NAMES = ("test", "val", "valid", "validation")
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm"}
)
_TINY_ANNOTATIONS = "val_annotations.txt"


def _is_class_folders(location: str) -> bool:
    """Whether at least two folders in a folder hold an image, at any depth."""
    path = Path(location)
    if not path.is_dir():
        return False
    with_images = (name for name in folders(path) if _holds_image(path / name))
    return next(with_images, None) is not None and next(with_images, None) is not None


class Folder(Source):
    """Class folders with images at any depth; the label of a class is its position by name.

    The images of a class are sorted by path. The archive of TinyImageNet, in which ``val/`` holds
    one folder and a table of labels, can be read as it was published. Names that start with a dot,
    and files without the suffix of an image, are ignored.

    Raises:
        DataError: the folder is empty, or the splits have different classes.
    """

    def __init__(self, root: Path) -> None:
        self.name = root.resolve().name or "data"
        self._root = root
        top = folders(root)
        self._parts = {"train": root / "train" if "train" in top else root}
        self.classes = tuple(folders(self._parts["train"]))
        if not self.classes:
            raise DataError(
                f"{root} must hold one folder of images per class (or train/ and test/ with such "
                "folders), "
                f"parquet files or be an .npz file: it holds {_listing(root)}"
            )
        if "train" in top:
            self._find_test(top)
        self.splits = tuple(self._parts)
        for name in self.classes:
            if name != name.encode("utf-8", "replace").decode():
                raise DataError(
                    f"class folders of {root} must have UTF-8 names: got {name!r}; rename it"
                )

    def labels(self, split: str, keep: Collection[int]) -> Labels:
        """See :class:`Source`."""
        return np.array([label for label, _ in self._images(split, keep)], dtype=np.int64)

    def records(self, split: str, keep: Collection[int]) -> Iterator[Record]:
        """See :class:`Source`."""
        for label, path in self._images(split, keep):
            yield Record(str(path), label, path)

    def files(self, keep: Collection[int]) -> list[tuple[str, Path]]:
        """All image files."""
        return [
            (f"{split}/{label}/{path.relative_to(self._root).as_posix()}", path)
            for split in self.splits
            for label, path in self._images(split, keep)
        ]

    def _find_test(self, top: list[str]) -> None:
        for name in (name for name in TEST_NAMES if name in top):
            part = self._root / name
            classes = folders(part)
            if (part / _TINY_ANNOTATIONS).is_file():
                classes = sorted({label for _, label in self._annotated(part)})
            elif classes == ["images"]:
                continue  # the test images of TinyImageNet have no labels
            check_same_classes(self.name, self.classes, classes)
            self._parts["test"] = part
            return

    def _images(self, split: str, keep: Collection[int]) -> Iterator[tuple[int, Path]]:
        part = self._parts[split]
        if (part / _TINY_ANNOTATIONS).is_file():
            position = {name: label for label, name in enumerate(self.classes)}
            pairs = sorted((position[name], path) for path, name in self._annotated(part))
            yield from (pair for pair in pairs if pair[0] in keep)
            return
        for label, name in enumerate(self.classes):
            if label in keep:
                if label not in self._listed.setdefault(split, {}):
                    self._listed[split][label] = _image_files(part / name)
                yield from ((label, path) for path in self._listed[split][label])

    @cached_property
    def _listed(self) -> dict[str, dict[int, list[Path]]]:
        """Image files by split and class; a class is listed when it is first requested."""
        return {}

    @staticmethod
    def _annotated(part: Path) -> Iterator[tuple[Path, str]]:
        """Files and class names in TinyImageNet's table (file, class, bounding box)."""
        for line in (part / _TINY_ANNOTATIONS).read_text(encoding="utf-8").splitlines():
            file, label, *_ = line.split("\t")
            yield part / "images" / Path(file).name, label


def _holds_image(path: Path) -> bool:
    return any(
        Path(name).suffix.lower() in IMAGE_SUFFIXES
        for _, _, names in os.walk(path)
        for name in names
    )


def _image_files(path: Path) -> list[Path]:
    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(path, onerror=_refuse)
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
        if not any(part.startswith(".") for part in Path(parent).relative_to(path).parts)
    )


def _refuse(error: OSError) -> None:
    raise error


def _listing(path: Path) -> str:
    names = sorted(entry.name for entry in os.scandir(path))
    return (
        ", ".join(repr(name) for name in names[:5]) + (", …" if len(names) > 5 else "") or "nothing"
    )


SOURCES.register("folder")(
    Layout(
        title="class folders",
        recognises=_is_class_folders,
        open=lambda location, config: Folder(Path(location)),
    )
)
