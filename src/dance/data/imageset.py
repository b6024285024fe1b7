"""ImageSet: a labelled image set of one size, as uint8 on one device, with an index by class."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from torch.utils.data import TensorDataset

from dance.core.errors import ConfigError, DataError
from dance.data import picture
from dance.data.normalization import Normalization


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """One split of a labelled image set; floats exist only in the batches drawn from it.

    Attributes:
        images: (N, C, H, W) uint8, H == W, C 1 (grey) or 3 (RGB), in dataset order (class folders:
            by class, then by file name; parquet and npz: row order). May be memory-mapped.
        labels: (N,) int64, 0 <= label < K.
        classes: K names, index = label, unchanged from the source; never use them in a path.
        normalization: from pixels to network input, with the field's constants for known names,
            else those of the train split.
        name: such as ``"cifar10"``, or that of the folder or file.
        split: ``"train"`` or ``"test"``.
        fingerprint: hex, of the pixels and labels of both splits, the class names and the
            normalization; the same for both splits and for all layouts of the same images.
        notes: for readers of scores (counts that differ from the published ones, a held-out test
            split, …).
        known: name of the known data set, if it was asked for by this name: what is published for
            it (no mirroring of digits, the layout of a ResNet) holds. Empty for all else, whatever
            its files are called.

    Raises:
        DataError: the parts do not fit together.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    normalization: Normalization
    name: str
    split: str
    fingerprint: str
    notes: tuple[str, ...] = ()
    known: str = ""

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[2] != images.shape[3]:
            raise DataError(
                f"images must be (N, C, S, S) uint8: got {tuple(images.shape)} {images.dtype}"
            )
        if images.shape[1] not in (1, 3):
            raise DataError(f"images must have 1 or 3 channels: got {images.shape[1]}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"labels must be ({images.shape[0]},) int64, one per image: got "
                f"{tuple(labels.shape)} {labels.dtype}"
            )
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise DataError(
                f"labels must lie in 0..{len(self.classes) - 1}: got "
                f"{int(labels.min())}..{int(labels.max())}"
            )
        try:
            self.normalization.check(torch.empty(images.shape[1:], device="meta"))
        except ConfigError as error:
            raise DataError(str(error)) from error

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    def __repr__(self) -> str:
        """The set in one line."""
        shape = "x".join(map(str, self.images.shape[1:]))
        return (
            f"<ImageSet {self.name} {self.split}: {len(self):,} images of {shape}, "
            f"{self.num_classes} classes>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: facts and some images."""
        return picture.as_html(
            repr(self).strip("<>"), self.show(), self.classes[: picture.MOST_COLUMNS]
        )

    def show(self, classes: int = picture.MOST_COLUMNS, per_class: int = 5) -> Image.Image:
        """The first images as one picture, a column for each class, which a notebook displays.

        Args:
            classes: largest number of classes.
            per_class: largest number of images of a class.

        Raises:
            ConfigError: one of them is below 1.
        """
        shown = picture.columns(classes, per_class, self.num_classes)
        return picture.grid([self.images[self.rows(label)[:per_class]].cpu() for label in shown])

    def to_torch(self) -> TensorDataset:
        """Network input and labels as tensors, for plain PyTorch.

        Returns:
            A dataset whose ``tensors`` are the normalized images (N, C, H, W) float32, four times
            as large as the stored bytes, and their labels (N,) int64.
        """
        return TensorDataset(self.normalization.apply_bytes(self.images), self.labels)

    @property
    def resolution(self) -> int:
        """Height and width in pixels."""
        return int(self.images.shape[-1])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.images.shape[1])

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    def counts(self) -> torch.Tensor:
        """Images per class, (K,) int64."""
        return torch.bincount(self.labels, minlength=self.num_classes)

    def rows(self, label: int) -> torch.Tensor:
        """Indices of one class in dataset order, (n_label,) int64, on the device of the labels."""
        start, stop = self._starts[label], self._starts[label + 1]
        return self._order[start:stop]

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on another device."""
        return dataclasses.replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            normalization=self.normalization.to(device),
        )

    def only(self, classes: range) -> ImageSet:
        """The images of some classes, in the same order, with the same labels and class names.

        :meth:`rows` of other classes is then empty. From a memory-mapped set only these images are
        read, and only when they are used if their rows are contiguous, as with class folders.

        Args:
            classes: consecutive labels, such as ``range(3, 6)``; may be empty.
        """
        if len(classes) == self.num_classes:
            return self
        inside = (self.labels >= classes.start) & (self.labels < classes.stop)
        rows = inside.nonzero()[:, 0]
        contiguous = len(rows) > 0 and int(rows[-1]) - int(rows[0]) + 1 == len(rows)
        index = slice(int(rows[0]), int(rows[-1]) + 1) if contiguous else rows
        return dataclasses.replace(self, images=self.images[index], labels=self.labels[index])

    @cached_property
    def _order(self) -> torch.Tensor:
        return torch.argsort(self.labels, stable=True)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *torch.cumsum(self.counts(), 0).tolist()]
