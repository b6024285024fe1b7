"""The dictionary that the code of DC, DSA and DM writes, as do DataDAM and IDM, which grew from it.

``res_METHOD_DATA_MODEL_NNipc.pt`` holds ``data``, a list of [images, labels] with one entry for
each experiment, and ``accs_all_exps``, accuracies by network. DataDAM's code adds an entry whenever
it scores the set. IDM's code has DM for METHOD unless another name is given, and also pickles its
best set as a plain pair of both. Images are network input: (n, C, S, S) float32, standardised by
channel.
"""

from __future__ import annotations

from typing import Any

from dance.condensed.imports import (
    IMPORTS,
    Foreign,
    Found,
    ImportFormat,
    as_tensor,
    plain_tensor,
)
from dance.core.errors import ConfigError


def is_pair(value: Any) -> bool:
    """Whether a value is [images, labels]."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and plain_tensor(value[0], 4)
        and plain_tensor(value[1], 1)
    )


def is_tuple(found: Found) -> bool:
    """Whether there is one file with a tuple (images, labels)."""
    return isinstance(found.only, tuple) and is_pair(found.only)


def _is_dictionary(found: Found) -> bool:
    entries = found.only.get("data") if isinstance(found.only, dict) else None
    return isinstance(entries, list) and bool(entries) and all(map(is_pair, entries))


def _is_dictionary_or_tuple(found: Found) -> bool:
    return _is_dictionary(found) or is_tuple(found)


def _read(found: Found) -> Foreign:
    entries = found.only["data"] if isinstance(found.only, dict) else [found.only]
    chosen = len(entries) if found.experiment is None else found.experiment
    if not 1 <= chosen <= len(entries):
        raise ConfigError(
            f"--experiment must be one of the {len(entries)} of the file, from 1: got {chosen}"
        )
    notes: tuple[str, ...] = ()
    if len(entries) > 1:
        notes = (
            f"it is number {chosen} of {len(entries)} sets in its file (--experiment chooses)",
        )
    images, labels = map(as_tensor, entries[chosen - 1])
    return Foreign(images, labels, notes=notes)


def _register(name: str, method: str, **settled: Any) -> None:
    recognises = _is_dictionary_or_tuple if name == "idm" else _is_dictionary
    title = f"{method}'s {{'data': [[images, labels], …], …}}"
    IMPORTS.register(name)(
        ImportFormat(
            title=title, method=method, recognises=recognises, read=_read, several=True,
            space="normalized",
            **settled,
        )
    )  # fmt: skip


# DC and DSA were published with CIFAR-10's statistics for CIFAR-100, and their code has had those
# of CIFAR-100 since March 2022, when DM's was added.
_register("dc", "DC", protocol="dc-v1", statistics=None)
_register("dsa", "DSA", protocol="dsa-v1", statistics=None)
_register("dm", "DM", protocol="dsa-v1", statistics="own")
# IDM's scripts give --aug, which makes the factor 2.
_register("idm", "IDM", protocol="dsa-v1", statistics="own", factor=2, files=("dm",))
_register(
    "datadam",
    "DataDAM",
    protocol="datadam-v1",
    statistics="own",
    whitening=("none", "zca_standardised"),
)
