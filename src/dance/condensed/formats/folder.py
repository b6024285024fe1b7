"""Class folders of PNG files, for torchvision's ``ImageFolder``, Keras and this library."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from dance.condensed.formats import FORMATS, Content, Format
from dance.condensed.formats.png import encode
from dance.condensed.formats.whitening import write_whitening
from dance.data.class_folders import MAPPING
from dance.data.splits import split_of_folder

_MAX_BYTES = 80
"""Longest name of a folder; file systems allow 255 bytes, and whole paths on Windows 260."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices, with any extension."""


def folder_names(classes: Sequence[str]) -> list[str]:
    """One safe and unique folder name per class, each a single path component.

    Letters and digits of any script, space, ``. _ - + , ( )`` are kept, and the rest becomes ``_``.
    Names differ even if upper and lower case, or composed and decomposed accents, are not
    distinguished.

    >>> folder_names(["cat", "Cat", "../../x", "", "train"])
    ['cat', 'Cat_2', 'x', 'class', 'train_']
    """
    taken = {MAPPING}
    names = []
    for original in classes:
        name = base = _safe(original)
        number = 1
        while _folded(name) in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(_folded(name))
        names.append(name)
    return names


def _safe(name: str) -> str:
    name = re.sub(r"[^\w .+,()-]+", "_", unicodedata.normalize("NFC", name))
    name = name.encode()[:_MAX_BYTES].decode(errors="ignore").strip(" .").lstrip("-_ .") or "class"
    if _DEVICES.fullmatch(name) or split_of_folder(name):
        return f"{name}_"
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def write_folder(content: Content, folder: Path) -> None:
    """Write ``<class>/<number>.png`` and the mapping of folders to class names.

    Readers of class folders number the classes by the order of their names. Where that is not the
    order of the labels, each name begins with its label.
    """
    classes = content.source.classes
    names = folder_names(classes)
    if names != sorted(names):
        width = len(str(len(names) - 1))
        names = [f"{label:0{width}d}_{name}" for label, name in enumerate(names)]
    for name in names:
        (folder / name).mkdir()
    counts = [0] * len(names)
    labels = content.labels.tolist()
    for label, png in zip(labels, encode(content.to_uint8()), strict=True):
        (folder / names[label] / f"{counts[label]:05d}.png").write_bytes(png)
        counts[label] += 1
    mapping = json.dumps(dict(zip(names, classes, strict=True)), indent=1, ensure_ascii=False)
    (folder / MAPPING).write_text(mapping + "\n", encoding="utf-8")
    write_whitening(content, folder)


FORMATS.register("folder")(Format(write_folder, is_folder=True, eight_bit=True, numbers=False))
