"""The list that the code of IDC writes, as do DREAM, DANCE and NCFM, which grew from it.

``data*.pt`` holds [images, labels]. Images are stored images in [0, 1], (n, C, S, S) float32, that
may leave it slightly. How many smaller images each of them holds stands in the command only.
"""

from __future__ import annotations

from typing import Any

from dance.condensed.imports import IMPORTS, Foreign, Found, ImportFormat, as_tensor
from dance.condensed.imports.dc import is_pair


def _is_list(found: Found) -> bool:
    return isinstance(found.only, list) and is_pair(found.only)


def _read(found: Found) -> Foreign:
    images, labels = map(as_tensor, found.only)
    return Foreign(images, labels)


def _register(name: str, method: str, **settled: Any) -> None:
    title = f"{method}'s [images, labels]"
    IMPORTS.register(name)(
        ImportFormat(title=title, method=method, recognises=_is_list, read=_read, **settled)
    )


_register("idc", "IDC", protocol="idc-v1", factor=None)
_register("dream", "DREAM", protocol="idc-v1", factor=None)
_register("dance", "DANCE", protocol="dance-v1", factor=None)
_register("ncfm", "NCFM", protocol="ncfm-v1", factor=2)
