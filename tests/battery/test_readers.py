"""Every layout of image sets: the same 400 images in each, read back, equal those of ``.npz``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from battery.layouts import LAYOUTS, npz, pictures
from dance.data import DataConfig, load


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_read_is_what_npz_gives(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))
    make, options = LAYOUTS[layout]
    data = pictures(**options)
    for name in ("arrays", "layout"):
        (tmp_path / name).mkdir()
    arrays, location = npz(tmp_path / "arrays", data), make(tmp_path / "layout", data)
    config = DataConfig(label_column="kind") if layout == "CSV" else None
    for split in ("train", "test"):
        ours, theirs = load(str(location), split, config), load(str(arrays), split)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.classes == theirs.classes == data.classes
        assert ours.normalization.mean == theirs.normalization.mean
        assert ours.fingerprint == theirs.fingerprint
    if len(data.splits) == 2:
        assert np.array_equal(ours.labels, data.splits["test"][1])
