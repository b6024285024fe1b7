"""The condensed set and its file: what to train on, how to read it, its origin and its scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dance.condensed import decoders
from dance.condensed.dataset import CondensedDataset
from dance.condensed.decoders import Decoder
from dance.condensed.decoders.identity import IDENTITY
from dance.condensed.score import Score, scores_from_plain
from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import read_tensors, write_tensors
from dance.data.normalization import Normalization

KIND = "condensed set"
FORMAT = 1
"""Version of the file's layout; raised when an older library could no longer read a new file."""
_LABEL_BYTES = 4
"""Of one number of a soft label, which is stored as float32."""
_TOLERANCE = 1e-3
"""By how much the probabilities of an image may miss 1."""

Space = Literal["unit", "normalized"]


@dataclass(eq=False)
class CondensedSet:
    """A small synthetic training set that describes itself.

    Attributes:
        pixels: (K * ipc, C, S, S) float32, the stored images in ``space``, class by class.
        labels: (K * ipc,) int64: ``0`` ipc times, then ``1`` ipc times, and so on.
        classes: K names; the index is the label.
        normalization: from pixels to network input; unseen images must go through it too. ZCA
            makes the file larger by 4*D*D bytes with D = C*S*S, 38 MB for colour images of 32
            pixels.
        decoder: from stored images to the images that networks see.
        space: of the stored pixels: ``unit`` is [0, 1] (values may leave it slightly),
            ``normalized`` is network input.
        provenance: where it came from (data set, fingerprint, configuration and its hash, seed,
            version, method), as plain JSON data.
        scores: what networks trained on it reached.
        learning_rate: learned with the pixels, for networks that are trained on them; None where
            none was learned.
        soft_labels: (m, K) float32, class probabilities (not logits) of each of
            :meth:`images`, each row summing to 1; None where there are only hard labels.

    Raises:
        ConfigError: the parts do not fit each other; the message says what must hold.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    normalization: Normalization
    decoder: Decoder = IDENTITY
    space: Space = "unit"
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    learning_rate: float | None = None
    soft_labels: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        self.classes = tuple(self.classes)
        _check(self)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    @property
    def ipc(self) -> int:
        """Stored images per class."""
        return len(self.pixels) // len(self.classes)

    @property
    def resolution(self) -> int:
        """S, in pixels."""
        return self.pixels.shape[-1]

    @property
    def channels(self) -> int:
        """C."""
        return self.pixels.shape[1]

    def decode(self, classes: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Images as pictures, before they are normalized.

        Args:
            classes: labels of the wanted classes, in the wanted order; None for all.

        Returns:
            (m, C, S, S) float32 in unit space, not clamped, and their labels (m,) int64;
            differentiable with respect to the stored pixels.
        """
        pixels, labels, counts = self._unit(), self.labels, [self.ipc] * self.num_classes
        if classes is not None:
            wanted = list(classes)
            parts = pixels.split(counts)
            pixels = torch.cat([pixels[:0], *(parts[label] for label in wanted)])
            counts = [counts[label] for label in wanted]
            labels = labels.new_tensor(wanted).repeat_interleave(labels.new_tensor(counts))
        return self.decoder.decode(pixels, counts), self.decoder.labels(labels)

    def images(self) -> Tensor:
        """Network input: decoded and normalized, (m, C, S, S) float32."""
        if self.space == "normalized" and self.decoder == IDENTITY:
            return self.pixels
        images, _ = self.decode()
        return self.normalization.apply(images)

    def targets(self) -> Tensor:
        """Labels of :meth:`images`: (m,) int64."""
        return self.decoder.labels(self.labels)

    def hard(self) -> CondensedSet:
        """The same set without its soft labels."""
        return self if self.soft_labels is None else replace(self, soft_labels=None)

    def dataset(self, augment: str | None = None, seed: int = 0) -> CondensedDataset:
        """A dataset for a ``DataLoader``: items are network input and its label.

        The label is an int, or (K,) float32 probabilities where the set has soft labels
        (:meth:`hard` leaves them out); PyTorch's cross-entropy takes both.

        Args:
            augment: strategy of :mod:`dance.augment.siamese`, drawn anew at every draw; None for
                none.
            seed: of the augmentation.
        """
        labels = self.targets() if self.soft_labels is None else self.soft_labels.detach()
        return CondensedDataset(self.images().detach().cpu(), labels.cpu(), augment, seed)

    def stored_images(self) -> tuple[Tensor, Tensor]:
        """What is stored, in unit space: (K * ipc, C, S, S), not clamped, and labels (K * ipc,)."""
        return self._unit(), self.labels

    def to_uint8(self, decoded: bool = False) -> Tensor:
        """What a person sees: clamped to [0, 1] and rounded to 8 bits, on the CPU.

        Args:
            decoded: the decoded images instead of the stored images.
        """
        unit = self.decode()[0] if decoded else self._unit()
        return (unit.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)

    def storage_bytes(self) -> int:
        """The budget that tables compare, in bytes.

        The stored images count 8 bits a value; soft labels, where there are some, 4 bytes a
        number, as they are stored.
        """
        soft = 0 if self.soft_labels is None else _LABEL_BYTES * self.soft_labels.numel()
        return self.pixels.numel() + soft

    def save(self, path: str | PathLike[str]) -> None:
        """Write one self-describing file without pickle, atomically.

        Raises:
            ArtifactError: it cannot be written; nothing half-written stays.
        """
        tensors, header = self.pack()
        write_tensors(Path(path), tensors, header, KIND)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain data that :func:`unpack` takes: body and header of the file."""
        normalization, constants = self.normalization.pack()
        header = {
            "format": FORMAT,
            "decoder": self.decoder.pack(),
            "space": self.space,
            "normalization": normalization,
            "classes": list(self.classes),
            "images_per_class": self.ipc,
            "shape": list(self.pixels.shape),
            "provenance": self.provenance,
            "scores": [score.to_plain() for score in self.scores],
        }
        tensors = {"pixels": self.pixels, "labels": self.labels, **constants}
        if self.learning_rate is not None:
            header["learning_rate"] = self.learning_rate
        if self.soft_labels is not None:
            tensors["soft_labels"] = self.soft_labels
        return tensors, header

    def _unit(self) -> Tensor:
        """Stored images in unit space."""
        return self.pixels if self.space == "unit" else self.normalization.invert(self.pixels)


def load_set(path: str | PathLike[str]) -> CondensedSet:
    """Read a condensed set; nothing is unpickled.

    Args:
        path: a file written by :meth:`CondensedSet.save`.

    Raises:
        ArtifactError: missing, damaged, no condensed set, or written by a newer version of the
            format.
    """
    tensors, header = read_tensors(Path(path), KIND)
    version = header.get("format") if isinstance(header, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(
            f"{path} must state its format version as a positive integer: got {version!r}"
        )
    if version > FORMAT:
        raise ArtifactError(
            f"{path} has format {version}, and this version of dance reads formats up to {FORMAT}: "
            "upgrade dance"
        )
    try:
        return unpack(tensors, header)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} lacks a part of a condensed set: {error}") from error
    except ConfigError as error:
        raise ArtifactError(f"{path} holds no usable condensed set: {error}") from error


def unpack(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> CondensedSet:
    """A set from what :meth:`CondensedSet.pack` gives.

    Raises:
        ConfigError: the parts do not fit each other.
    """
    return CondensedSet(
        pixels=tensors["pixels"],
        labels=tensors["labels"],
        classes=tuple(header["classes"]),
        normalization=Normalization.unpack(header["normalization"], tensors),
        decoder=decoders.unpack(header["decoder"]),
        space=header["space"],
        provenance=header["provenance"],
        scores=scores_from_plain(header["scores"]),
        learning_rate=header.get("learning_rate"),
        soft_labels=tensors.get("soft_labels"),
    )


def _check(condensed: CondensedSet) -> None:
    """Raise ConfigError unless the parts fit each other."""
    pixels, labels, classes = condensed.pixels, condensed.labels, condensed.classes
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ConfigError(f"a condensed set needs class names, all of them text: got {classes!r}")
    if (
        pixels.ndim != 4
        or pixels.shape[1] not in (1, 3)
        or pixels.shape[2] != pixels.shape[3]
        or not pixels.numel()
    ):
        raise ConfigError(f"pixels must be (n, C, S, S) with C 1 or 3: got {tuple(pixels.shape)}")
    if pixels.dtype != torch.float32 or labels.dtype != torch.int64:
        raise ConfigError(
            f"pixels must be float32 and labels int64: got {pixels.dtype} and {labels.dtype}"
        )
    if len(pixels) % len(classes):
        raise ConfigError(
            f"every class needs as many images: got {len(pixels)} images for {len(classes)} classes"
        )
    expected = torch.arange(len(classes)).repeat_interleave(condensed.ipc)
    if not torch.equal(labels.cpu(), expected):
        raise ConfigError(
            f"labels must run class by class from 0 to {len(classes) - 1}, {condensed.ipc} images "
            f"each: got {labels.tolist()[:8]}… of shape {tuple(labels.shape)}"
        )
    condensed.normalization.check(pixels[0])
    if condensed.space not in get_args(Space):
        raise ConfigError(f"space must be 'unit' or 'normalized': got {condensed.space!r}")
    condensed.decoder.check(condensed.resolution)
    if condensed.normalization.whitening is not None and condensed.decoder.factor != 1:
        raise ConfigError(f"a whitened set must have factor 1: got {condensed.decoder.factor}")
    if not isinstance(condensed.provenance, dict):
        raise ConfigError(f"provenance must be a mapping: got {condensed.provenance!r}")
    try:
        described = [classes, condensed.provenance]
        json.dumps(described, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"class names and provenance must be plain JSON data in valid Unicode: {error}"
        ) from error
    for score in condensed.scores:
        if score.num_classes != len(classes):
            raise ConfigError(
                f"scores must be of the {len(classes)} classes of the set: got one of "
                f"{score.num_classes}"
            )
    rate = condensed.learning_rate
    if rate is not None and not (isinstance(rate, float) and math.isfinite(rate) and rate > 0):
        raise ConfigError(f"a learned learning rate must be finite and above 0: got {rate!r}")
    if condensed.soft_labels is not None:
        _check_soft(condensed.soft_labels, len(condensed.targets()), len(classes))
    if bad := int((~torch.isfinite(pixels.detach())).sum()):
        raise ConfigError(
            f"pixels must be finite: {bad} of {pixels.numel()} are not; the condensation diverged"
        )


def _check_soft(soft: Tensor, images: int, classes: int) -> None:
    """Raise ConfigError unless every decoded image has a distribution over the classes."""
    if soft.shape != (images, classes) or soft.dtype != torch.float32:
        raise ConfigError(
            f"soft labels must be ({images}, {classes}) float32, a row for each decoded image: got "
            f"{tuple(soft.shape)} {soft.dtype}"
        )
    sums = soft.detach().double().sum(1)
    if not bool((soft >= 0).all()) or not bool(((sums - 1).abs() <= _TOLERANCE).all()):
        raise ConfigError(
            "soft labels must be probabilities, from 0 and summing to 1 for each image: got rows "
            f"from {float(soft.min()):.4g} that sum to {float(sums.min()):.4g} up to "
            f"{float(sums.max()):.4g}"
        )
