"""Exports of a condensed set to formats that other tools read; each module registers its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from dance.condensed.container import CondensedSet
from dance.condensed.decoders import Decoder
from dance.condensed.decoders.identity import IDENTITY
from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import write_atomic
from dance.core.progress import log
from dance.core.registry import Registry


@dataclass(frozen=True)
class Rounding:
    """What 8 bits cost, over all pixels of an export; pixels are in [0, 1].

    Attributes:
        largest: largest absolute difference between an exported and a stored pixel.
        rms: root of the mean squared difference.
        clipped: share of the pixels outside [0, 1], which 8 bits cannot hold.
    """

    largest: float
    rms: float
    clipped: float

    def __str__(self) -> str:
        """The sentence for the log and for the dataset card."""
        return (
            f"8 bits change pixels in [0, 1] by at most {self.largest:.4f} (RMS {self.rms:.4f}); "
            f"{self.clipped:.2%} of them lay outside [0, 1] and were clipped"
        )


@dataclass(frozen=True)
class Content:
    """What a format writes.

    Attributes:
        images: (n, C, S, S) float32 in unit space on the CPU, not clamped.
        labels: (n,) int64, class by class.
        decoder: that is still to be applied: the identity when the images are decoded.
        source: the condensed set, for names, normalisation and provenance.
        rounding: what 8 bits cost.
        soft: (n, K) float32 probabilities of decoded images; None where the set has none.
    """

    images: Tensor
    labels: Tensor
    decoder: Decoder
    source: CondensedSet
    rounding: Rounding
    soft: Tensor | None = None

    def to_uint8(self) -> Tensor:
        """The images clamped to [0, 1] and rounded, (n, C, S, S) uint8."""
        return _to_uint8(self.images)


@dataclass(frozen=True)
class Format:
    """One kind of export.

    Attributes:
        write: fills an empty folder, or writes the file at the path it is given.
        is_folder: whether that path is a folder.
        eight_bit: whether pixels are rounded to 8 bits.
        numbers: whether it holds soft labels and a learned learning rate.
    """

    write: Callable[[Content, Path], None]
    is_folder: bool
    eight_bit: bool
    numbers: bool = True


@dataclass(frozen=True)
class Exported:
    """What :func:`export` wrote.

    Attributes:
        path: the file or folder.
        kind: of export.
        images: their number.
        rounding: what 8 bits cost; None where pixels were written as floats, exactly.
    """

    path: Path
    kind: str
    images: int
    rounding: Rounding | None


FORMATS: Registry[Format] = Registry("export format", __name__)


def export(
    condensed: CondensedSet,
    kind: str,
    destination: str | PathLike[str],
    *,
    stored_images: bool = False,
) -> Exported:
    """Write a condensed set in a format that other tools read, completely or not at all.

    Args:
        condensed: the set.
        kind: name of a format, such as ``"parquet"``, ``"folder"``, ``"npz"`` or ``"pt"``.
        destination: folder (``parquet``, ``folder``) or file (``npz``, ``pt``) to make; must not
            exist, or be an empty folder in the first case.
        stored_images: write the stored images instead of the decoded images.

    Raises:
        ConfigError: unknown kind, or the destination is taken.
        ArtifactError: the destination cannot be written.
    """
    form = FORMATS.get(kind)
    place = Path(destination).resolve()
    _check_free(place, form.is_folder, kind)
    content = _content(condensed, stored_images)
    if form.is_folder:
        _write_folder(place, lambda folder: form.write(content, folder))
    else:
        write_atomic(place, lambda file: form.write(content, file))
    rounding = content.rounding if form.eight_bit else None
    count = len(content.images)
    log(f"exported {count} images to {destination}: {rounding or 'float32, exactly as stored'}")
    if lost := _lost(condensed, content, form):
        log(f"left out, since {lost}")
    return Exported(place, kind, count, rounding)


def _content(condensed: CondensedSet, stored_images: bool) -> Content:
    decoder = condensed.decoder if stored_images else IDENTITY
    images, labels = condensed.stored_images() if stored_images else condensed.decode()
    images, labels = images.detach().cpu(), labels.cpu()
    change = _to_uint8(images).double() / 255 - images
    rounding = Rounding(
        largest=float(change.abs().max()),
        rms=float(change.square().mean().sqrt()),
        clipped=float(((images < 0) | (images > 1)).double().mean()),
    )
    soft = condensed.soft_labels if decoder.factor == 1 else None
    soft = None if soft is None else soft.detach().cpu()
    return Content(images, labels, decoder, condensed, rounding, soft)


def _lost(condensed: CondensedSet, content: Content, form: Format) -> str:
    """Which parts of the set the export does not hold and why; empty where it holds all."""
    parts = []
    if condensed.soft_labels is not None and content.soft is None:
        return "they are of the decoded images and not of stored images: the soft labels"
    if not form.numbers:
        parts += ["the soft labels"] if condensed.soft_labels is not None else []
        parts += ["the learned learning rate"] if condensed.learning_rate is not None else []
    return f"class folders hold images only: {' and '.join(parts)}" if parts else ""


def _to_uint8(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _check_free(place: Path, is_folder: bool, kind: str) -> None:
    if is_folder and place.is_dir():
        if any(place.iterdir()):
            raise ConfigError(f"the destination must be empty or not exist: {place} holds files")
    elif place.is_dir():
        raise ConfigError(f"{kind} writes one file: got the folder {place}; add a file name to it")
    elif place.exists():
        raise ConfigError(
            f"the destination must not exist: {place} does; name another or remove it"
        )


def _write_folder(place: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder beside the place, then rename it: a reader sees all of it or nothing."""
    temporary: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name[:40]}."))
        temporary.chmod(0o755)
        write(temporary)
        temporary.replace(place)
        temporary = None
    except OSError as error:
        raise ArtifactError(
            f"cannot write {place}: {error.strerror or error}; free some space or name another"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
