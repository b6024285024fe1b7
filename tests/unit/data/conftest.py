"""Small sources made on the spot, and a cache of its own for every test."""

import importlib
import io
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of this test; no data root, no network, and no note logged yet."""
    importlib.import_module(
        "dance.data.load"
    )._log_once.cache_clear()  # other tests may have logged
    folder = tmp_path / "cache"
    monkeypatch.setenv("DANCE_CACHE", str(folder))
    monkeypatch.delenv("DANCE_DATA_ROOT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def pixels():
    """``pixels(n, resolution, channels)``: n distinct random images, (n, side, side[, 3]) uint8."""

    def draw(count, resolution=8, channels=3, seed=0):
        shape = (
            (count, resolution, resolution)
            if channels == 1
            else (count, resolution, resolution, channels)
        )
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return draw


@pytest.fixture
def class_folder():
    """``class_folder(root, {"cat": images})``: one PNG per image."""

    def write(root: Path, content):
        for name, images in content.items():
            (root / name).mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(root / name / f"{number:03d}.png")
        return root

    return write


@pytest.fixture
def parquet():
    """``parquet(path, images, labels, names=…)``: the Hugging Face layout, lossless PNG."""

    def write(path: Path, images, labels, names=None, image="image", label="label", kind=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = [{"bytes": encode(i), "path": f"{n}.png"} for n, i in enumerate(images)]
        table = pa.table(
            {
                image: pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
                label: pa.array(labels, kind or pa.int64()),
            }
        )
        if names is not None:
            features = {
                image: {"_type": "Image"},
                label: {"names": list(names), "_type": "ClassLabel"},
            }
            said = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": said})
        pq.write_table(table, path, row_group_size=3)
        return path

    return write


@pytest.fixture
def unprivileged(tmp_path):
    """``with unprivileged():`` permissions count, also where the tests run as root."""

    @contextmanager
    def drop():
        user = os.geteuid()
        if user == 0:
            temporary = Path(tempfile.gettempdir())
            for folder in (tmp_path, *tmp_path.parents):
                if temporary in folder.parents:
                    folder.chmod(folder.stat().st_mode | 0o055)
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)

    return drop


def encode(image, **options):
    """An array, or bytes as they are, as a PNG."""
    if isinstance(image, bytes):
        return image
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", **options)
    return stream.getvalue()
