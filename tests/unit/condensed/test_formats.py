"""Exports: what other tools read, what 8 bits cost, hostile names, all or nothing."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dance.condensed import CondensedSet
from dance.condensed.container import Space
from dance.condensed.decoders import of_factor
from dance.condensed.decoders.grid import Grid
from dance.condensed.decoders.identity import IDENTITY
from dance.condensed.formats import FORMATS, export, rounded
from dance.condensed.formats.folder import folder_names
from dance.condensed.imports import IMPORTS, Found
from dance.core.errors import ArtifactError, ConfigError
from dance.data import DataConfig, load
from dance.data.normalization import Normalization
from full_disk import on_full_disk
from unit.condensed.scores import made as made_score

HOSTILE = (
    "../../x",
    "<script>alert(1)</script>",
    "",
    "..",
    "/etc/passwd",
    "a|b\nc: 'd' \"e\"\n---\n# x",
    "---",
    "null",
    "x" * 500,
    "X" * 500,
    "classes.json",
    "CON",
    "Straße",
    "STRASSE",
    "e\u0301",
    "\u00e9",
    "train",
    ".hidden",
    "[a](http://b.c) `d` \u202e \x00 {{e}}",
    "../../x",
)


def make(names: tuple[str, ...] = ("cat", "dog"), ipc: int = 2, channels: int = 3) -> CondensedSet:
    generator = torch.Generator().manual_seed(0)
    count = len(names)
    return CondensedSet(
        pixels=torch.rand(count * ipc, channels, 6, 6, generator=generator) * 1.2 - 0.1,
        labels=torch.arange(count).repeat_interleave(ipc),
        classes=names,
        normalization=Normalization((0.4,) * channels, (0.2,) * channels),
        decoder=Grid(2),
        provenance={
            "dataset": "pets <i>",
            "label": "DANCE",
            "seed": 7,
            "config_hash": "c0ffee",
            "notes": ["differs from\n# the published counts"],
        },
        scores=[made_score(count)],
    )


def picture(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image))


def pictures(paths: list[Path]) -> torch.Tensor:
    return torch.stack([picture(path) for path in paths])


def content(root: Path) -> dict[str, str]:
    """Every file below a folder, with a hash of its bytes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


DESTINATIONS = {
    "parquet": "out", "folder": "out", "npz": "out.npz", "pt": "out.pt", "dc": "out.pt",
    "idc": "out.pt", "mtt": "out",
}  # fmt: skip
PARTICULAR = {"ddranking", "indices"}
"""Formats of some sets only, tested by test_programs.py."""


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_the_same_set_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        export(make(HOSTILE), kind, tmp_path / name / f"{name}.x")
    first, second = content(tmp_path / "one"), content(tmp_path / "another")
    assert sorted(first.values()) == sorted(second.values())


def test_every_format_is_tested_here() -> None:
    assert FORMATS.names() == sorted({*DESTINATIONS, *PARTICULAR})


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_folder(channels: int, mode: str, tmp_path: Path) -> None:
    condensed = make(channels=channels)
    done = export(condensed, "folder", tmp_path / "out")
    assert done.images == 16
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert [path.parent.name for path in files] == ["cat"] * 8 + ["dog"] * 8
    with Image.open(files[0]) as image:
        assert image.mode == mode
    expected = condensed.to_uint8(decoded=True).permute(0, 2, 3, 1)
    assert torch.equal(pictures(files).view(expected.shape), expected)
    assert json.loads((tmp_path / "out/classes.json").read_text()) == {"cat": "cat", "dog": "dog"}


def test_folders_have_the_order_of_the_labels(tmp_path: Path) -> None:
    """ImageFolder and Keras number class folders by the order of their names."""
    names = ("zebra", *(str(label) for label in range(11)))
    export(make(names, ipc=1), "folder", tmp_path / "out")
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    mapping = json.loads((tmp_path / "out/classes.json").read_text())
    assert [mapping[folder] for folder in folders] == list(names)
    assert folders[:2] == ["00_zebra", "01_0"]


def test_synthetic(tmp_path: Path) -> None:
    condensed = make()
    done = export(condensed, "folder", tmp_path / "out", stored_images=True)
    assert done.images == 4
    files = sorted((tmp_path / "out").rglob("*.png"))
    assert torch.equal(pictures(files), condensed.to_uint8().permute(0, 2, 3, 1))
    export(condensed, "pt", tmp_path / "out.pt", stored_images=True)
    stored = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(stored["images"], condensed.pixels)
    assert stored["factor"] == 2


def test_hostile_names_stay_inside_and_apart(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "out"
    export(make(HOSTILE, ipc=1), "folder", root)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    mapping = json.loads((root / "classes.json").read_text(encoding="utf-8"))
    assert tuple(mapping.values()) == HOSTILE
    assert {path.name for path in root.iterdir()} == {*mapping, "classes.json"}
    assert all(len(list((root / name).iterdir())) == 4 for name in mapping)


@pytest.mark.parametrize("classes", [("zebra", "ant", "train"), HOSTILE[:-1]])
def test_names_and_order_survive_our_own_reader(
    classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))
    condensed = make(classes)
    export(condensed, "folder", tmp_path / "out")
    half = DataConfig(test_fraction=0.5)
    train, test = (load(str(tmp_path / "out"), split, half) for split in ("train", "test"))
    assert train.classes == classes
    read = torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels])
    ours = condensed.to_uint8(decoded=True).flatten(1)
    for label in range(len(classes)):
        exported = {bytes(image) for image in ours[label * 8 : label * 8 + 8].tolist()}
        assert {bytes(x) for x in read[0][read[1] == label].flatten(1).tolist()} == exported


names = st.text(max_size=12) | st.sampled_from(HOSTILE)


@given(st.lists(names | st.text(alphabet="aA._-/ \\<1", max_size=3), max_size=12))
def test_folder_names_are_safe_and_distinct(classes: list[str]) -> None:
    safe = folder_names(classes)
    assert len(safe) == len(classes)
    assert len({name.casefold() for name in safe}) == len(classes)
    for name in safe:
        assert name.isprintable()
        assert not set(name) & set('/\\<>:"|?*')
        assert name not in ("", ".", "..", "classes.json")
        assert name[0] not in ".-~ "
        assert name[-1] not in ". "
        assert len(name.encode()) <= 100
        assert name.lower().split(".")[0] not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
        assert name.lower() not in {"train", "test", "val", "validation"}


@given(st.lists(st.from_regex(r"[A-Za-z0-9][\w -]{0,20}\w", fullmatch=True), max_size=5))
def test_harmless_names_are_kept(classes: list[str]) -> None:
    harmless = [name for name in dict.fromkeys(classes) if folder_names([name]) == [name]]
    distinct = {name.casefold(): name for name in harmless}
    assert folder_names(list(distinct.values())) == list(distinct.values())


def test_ordinary_names_are_kept() -> None:
    ordinary = ["cat", "golden retriever", "Über-Katze", "汉字", "n01440764", "0", "St. Bernard"]
    assert folder_names(ordinary) == ordinary


def test_parquet_holds_the_images(tmp_path: Path) -> None:
    condensed = make(HOSTILE)
    export(condensed, "parquet", tmp_path / "out")
    table = pq.read_table(tmp_path / "out/data/train-00000-of-00001.parquet")
    assert table["label"].to_pylist() == condensed.targets().tolist()
    images = [Image.open(io.BytesIO(row["bytes"])) for row in table["image"].to_pylist()]
    assert all(image.format == "PNG" for image in images)
    stacked = torch.stack([torch.from_numpy(np.array(image)) for image in images])
    assert torch.equal(stacked, condensed.to_uint8(decoded=True).permute(0, 2, 3, 1))
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"]["_type"] == "ClassLabel"
    assert features["label"]["names"] == [*HOSTILE[:-1], "../../x (2)"]


def test_the_card_cannot_be_broken_by_a_name(tmp_path: Path) -> None:
    condensed = make(HOSTILE)
    done = export(condensed, "parquet", tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    lines = text.split("\n")
    assert lines[0] == "---"
    end = lines.index("---", 1)
    front = yaml.safe_load("\n".join(lines[1:end]))
    label = front["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]
    assert list(label.values()) == [*HOSTILE[:-1], "../../x (2)"]
    assert list(label) == [str(k) for k in range(len(HOSTILE))]
    body = "\n".join(lines[end + 1 :])
    assert "<" not in body, "nothing in the card may be read as HTML"
    assert "](" not in body
    rows = [line for line in lines[end:] if line.startswith("| ") and line.split()[1].isdigit()]
    assert len(rows) == len(HOSTILE)
    assert all(row.endswith(" |") for row in rows), "a name broke its row"
    assert sum(line.startswith("#") for line in lines[end:]) == 5, "a note became a heading"
    assert "| 37.5 ± 17.7 | 0.0 to 100.0 | 2 |" in body
    assert str(done.rounding) in body
    assert "c0ffee" in body
    assert html.escape("pets <i>") in body


@pytest.mark.draws_globally
def test_hugging_face_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    condensed = make(HOSTILE)
    export(condensed, "parquet", tmp_path / "out")
    shard = str(tmp_path / "out/data/train-00000-of-00001.parquet")
    cache = str(tmp_path / "cache")
    opened = [
        datasets.load_dataset("parquet", data_files=shard, split="train", cache_dir=cache),
        datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=cache),
    ]
    for images in opened:
        assert isinstance(images.features["image"], datasets.Image)
        assert isinstance(images.features["label"], datasets.ClassLabel)
        assert images.features["label"].names == [*HOSTILE[:-1], "../../x (2)"]
        assert images["label"] == condensed.targets().tolist()
        last = torch.from_numpy(np.array(images[len(images) - 1]["image"]))
        assert torch.equal(last, condensed.to_uint8(decoded=True)[-1].permute(1, 2, 0))


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_this_library_reads_it(kind: str, tmp_path: Path) -> None:
    condensed = make(("cat", "dog", "eel"), ipc=3, channels=1)
    export(condensed, kind, tmp_path / "out")
    splits = [load(str(tmp_path / "out"), split, DataConfig()) for split in ("train", "test")]
    decoded = condensed.to_uint8(decoded=True)
    expected = {
        (bytes(i.numpy()), int(k)) for i, k in zip(decoded, condensed.targets(), strict=True)
    }
    read = {
        (bytes(image.numpy()), int(label))
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    }
    assert splits[0].classes == condensed.classes
    assert read == expected
    assert len(read) == 36


def test_npz_and_pt_are_exact_and_plain(tmp_path: Path) -> None:
    condensed = make(("cat", "汉字"))
    decoded, labels = condensed.decode()
    export(condensed, "npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        stored: dict[str, Any] = {name: arrays[name] for name in arrays}
    assert list(tmp_path.iterdir()) == [tmp_path / "out.npz"]
    assert stored["images"].dtype == np.float32
    assert np.array_equal(stored["images"], decoded.numpy())
    assert stored["labels"].tolist() == labels.tolist()
    assert stored["classes"].tolist() == ["cat", "汉字"]
    np.testing.assert_allclose(stored["mean"], condensed.normalization.mean)
    np.testing.assert_allclose(stored["std"], condensed.normalization.std)
    assert stored["factor"] == 1

    export(condensed, "pt", tmp_path / "out.pt")
    stored = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(stored["images"], decoded)
    assert torch.equal(stored["labels"], labels)
    assert stored["classes"] == ["cat", "汉字"]
    mean, std = (stored[name].view(-1, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close((stored["images"] - mean) / std, condensed.images())


def test_what_eight_bits_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = torch.full((1, 1, 10, 10), 0.5)  # 0.5 * 255 = 127.5, which lies between two levels
    pixels[0, 0, 0, 0] = 1.25
    pixels[0, 0, 0, 1] = -0.5
    condensed = CondensedSet(pixels, torch.tensor([0]), ("a",), Normalization((0.5,), (0.5,)))
    done = export(condensed, "folder", tmp_path / "out")
    assert done.rounding is not None
    assert done.rounding.largest == pytest.approx(0.5)
    squares = 98 * (0.5 / 255) ** 2 + 0.25**2 + 0.5**2
    assert done.rounding.rms == pytest.approx((squares / 100) ** 0.5)
    assert done.rounding.clipped == pytest.approx(0.02)
    message = capsys.readouterr().err
    assert "at most 0.5000" in message
    assert "2.00% of them lay outside [0, 1]" in message
    assert export(condensed, "npz", tmp_path / "out.npz").rounding is None


@pytest.mark.parametrize(
    ("kind", "space", "factor", "stored_images", "said"),
    [
        ("npz", "unit", 1, False, "float32, exactly as stored"),
        ("npz", "unit", 2, True, "float32, exactly as stored"),
        ("npz", "unit", 2, False, "pixels of images, decoded from stored images of factor 2"),
        ("npz", "normalized", 1, False, "pixels of images, rounded when they were brought there"),
        ("npz", "normalized", 2, False, "of factor 2, rounded when they were brought there"),
        ("dc", "normalized", 1, False, "float32, exactly as stored"),
        ("dc", "normalized", 2, True, "float32, exactly as stored"),
        ("dc", "normalized", 2, False, "float32, as networks see them"),
        ("dc", "unit", 1, False, "float32, as networks see them"),
        ("idc", "unit", 2, False, "float32, exactly as stored"),
    ],
)
def test_what_is_said_about_floats(
    kind: str,
    space: Space,
    factor: int,
    stored_images: bool,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    condensed = replace(make(), space=space, decoder=of_factor(factor))
    export(condensed, kind, tmp_path / "out", stored_images=stored_images)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "exported" in line]
    assert said in line
    assert ("exactly as stored" in line) == (said == "float32, exactly as stored")


def test_what_eight_bits_contain_is_what_is_read(tmp_path: Path) -> None:
    """A set that is scored in place of an export has what the export has, and no more."""
    condensed = replace(make(), decoder=IDENTITY, learning_rate=0.01)
    condensed = replace(condensed, soft_labels=torch.eye(2)[condensed.labels])
    for kind in ("parquet", "folder"):
        export(condensed, kind, tmp_path / kind)
        place = tmp_path / kind
        foreign = IMPORTS.get(kind).read(Found((place,)))
        again = rounded(condensed, kind)
        assert foreign.learning_rate == again.learning_rate is None
        assert (foreign.soft is None) == (again.soft_labels is None) == (kind == "folder")


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_a_taken_destination_is_left_alone(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")
    for place in (folder, folder / "thesis.txt"):
        with pytest.raises(ConfigError, match=r"destination must|file name"):
            export(make(), kind, place)
    assert list(tmp_path.rglob("*")) == [folder, folder / "thesis.txt"]
    assert (folder / "thesis.txt").read_text() == "all of it"


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(make(), "folder", tmp_path / "out")
    assert (tmp_path / "out/classes.json").exists()


def test_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'parquet'"):
        export(make(), "parket", tmp_path / "out")


def fail_to_export(folder: Path) -> None:
    for kind, place in DESTINATIONS.items():
        # many classes, so that the folder's PNGs fit and its last file does not
        with pytest.raises(ArtifactError, match=r"cannot write .*out"):
            export(make(HOSTILE), kind, folder / place)
        assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    on_full_disk(300, fail_to_export, tmp_path)


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_a_read_only_folder(kind: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user writes everywhere")
    with pytest.raises(ArtifactError, match="cannot write"):
        export(make(), kind, tmp_path / DESTINATIONS[kind])


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_a_path_through_a_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot write"):
        export(make(), kind, tmp_path / "file" / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_an_interrupted_export_leaves_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for writer in ("pathlib.Path.write_text", "numpy.savez", "pathlib.Path.write_bytes"):
        monkeypatch.setattr(writer, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(make(), kind, tmp_path / DESTINATIONS[kind])
    assert list(tmp_path.iterdir()) == []
