"""Sets of other programs: imported, scored, exported again; and what is asked for or refused.

The files are written here as those programs write them, from real images: digits, and in the slow
tests those of CIFAR-10, where DANCE_DATA_ROOT has it.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import dance
from dance.condensed import CondensedSet
from dance.condensed.imports import IMPORTS
from dance.data import DataConfig, ImageSet, Normalization, load
from dance.data.known import KNOWN
from dance.data.whitening import fit_cached
from e2e.command import Outcome, command, done

ROOT = os.environ.get("DANCE_DATA_ROOT", "")
IPC = 2
TINY = ("--networks=mlp", "--epochs=1", "--repeats=1", "--device=cpu")


@dataclass
class Real:
    """Some images of each class, and the data set that they are of."""

    train: ImageSet
    images: torch.Tensor
    labels: torch.Tensor

    @property
    def unit(self) -> torch.Tensor:
        return self.images.float() / 255

    @property
    def inputs(self) -> torch.Tensor:
        return self.train.normalization.apply(self.unit)


def some(name: str) -> Real:
    train = load(name, "train", DataConfig(root=ROOT or None))
    rows = torch.cat([train.rows(label)[:IPC] for label in range(train.num_classes)])
    return Real(train, train.images[rows].clone(), train.labels[rows].clone())


@pytest.fixture(scope="module")
def real() -> Real:
    return some("digits")


@pytest.fixture(scope="module", params=["digits", pytest.param("cifar10", marks=pytest.mark.slow)])
def each(request: pytest.FixtureRequest) -> Real:
    if request.param != "digits" and not (ROOT and Path(ROOT, request.param).is_dir()):
        pytest.skip(f"DANCE_DATA_ROOT holds no {request.param}")
    return some(request.param)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def soft_logits(real: Real) -> torch.Tensor:
    noise = torch.rand(len(real.labels), 10, generator=torch.Generator().manual_seed(0))
    return noise + 3 * torch.nn.functional.one_hot(real.labels, 10)


def write_dc(real: Real, folder: Path) -> None:
    content = {"data": [[real.inputs, real.labels]], "accs_all_exps": {}}
    (folder / "set.pt").write_bytes(saved(content))


def write_idm(real: Real, folder: Path) -> None:
    """The code's best set: plain pickles of tensors, in which a storage is a file of its own."""
    (folder / "acc_0.5.pkl").write_bytes(pickle.dumps((real.inputs, real.labels)))


def write_idc(real: Real, folder: Path) -> None:
    (folder / "data.pt").write_bytes(saved([real.unit, real.labels]))


def write_mtt(real: Real, folder: Path) -> None:
    (folder / "images_best.pt").write_bytes(saved(real.inputs))
    (folder / "labels_best.pt").write_bytes(saved(real.labels))
    (folder / "lr_best.pt").write_bytes(saved(0.015625))


def write_datm(real: Real, folder: Path) -> None:
    write_mtt(real, folder)
    (folder / "labels_best.pt").write_bytes(saved(soft_logits(real)))


def write_npz(real: Real, folder: Path) -> None:
    np.savez(folder / "set.npz", images=real.unit.numpy(), labels=real.labels.numpy())


def write_pt(real: Real, folder: Path) -> None:
    (folder / "set.pt").write_bytes(saved({"images": real.unit, "labels": real.labels}))


def pictures(real: Real) -> Iterator[tuple[int, int, Image.Image]]:
    """Label, number in the class, and image."""
    for row, (image, label) in enumerate(zip(real.images, real.labels.tolist(), strict=True)):
        pixels = image.permute(1, 2, 0).numpy()
        yield label, row % IPC, Image.fromarray(pixels.squeeze(2) if len(image) == 1 else pixels)


def write_folder(real: Real, folder: Path) -> None:
    """SRe2L's layout; as PNG, so that pixels are exact."""
    for label, number, image in pictures(real):
        place = folder / "syn" / f"new{label:03d}"
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"class{label:03d}_id{number:03d}.png")


def write_parquet(real: Real, folder: Path) -> None:
    rows = []
    for _, _, image in pictures(real):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(rows, kind), "label": real.labels.tolist()}
    pq.write_table(pa.table(columns), folder / "train.parquet")


@dataclass
class Case:
    """One format: who writes it, what must be said, and how it is exported again."""

    write: Callable[[Real, Path], None]
    method: str
    protocol: str
    to: tuple[str, ...]
    said: tuple[str, ...] = ()
    factor: int = 1
    space: str = "normalized"

    def pixels(self, real: Real) -> torch.Tensor:
        return real.inputs if self.space == "normalized" else real.unit


STORED = "--stored-images"
CASES = {
    "dc": Case(write_dc, "DC", "dc-v1", ("dc", "set.pt"), ("--format=dc",)),
    "dsa": Case(write_dc, "DSA", "dsa-v1", ("dc", "set.pt"), ("--format=dsa",)),
    "dm": Case(write_dc, "DM", "dsa-v1", ("dc", "set.pt"), ("--format=dm",)),
    "datadam": Case(
        write_dc, "DataDAM", "datadam-v1", ("dc", "set.pt"),
        ("--format=datadam", "--whitening=none"),
    ),
    "idm": Case(write_idm, "IDM", "dsa-v1", ("dc", "set.pt", STORED), (), 2),
    "idc": Case(
        write_idc, "IDC", "idc-v1", ("idc", "data.pt"), ("--format=idc", "--factor=2"), 2, "unit"
    ),
    "dream": Case(
        write_idc, "DREAM", "idc-v1", ("idc", "data.pt"), ("--format=dream", "--factor=2"), 2,
        "unit",
    ),
    "dance": Case(
        write_idc, "DANCE", "dance-v1", ("idc", "data.pt"), ("--format=dance", "--factor=1"), 1,
        "unit",
    ),
    "ncfm": Case(
        write_idc, "NCFM", "ncfm-v1", ("idc", "data.pt"), ("--format=ncfm",), 2, "unit"
    ),
    "mtt": Case(write_mtt, "MTT", "mtt-v1", ("mtt", "out"), ("--whitening=none",)),
    "datm": Case(write_datm, "DATM", "mtt-v1", ("mtt", "out"), ("--whitening=none",)),
    "npz": Case(write_npz, "Set", "dance-v1", ("npz", "set.npz"), (), 1, "unit"),
    "pt": Case(write_pt, "Set", "dance-v1", ("pt", "set.pt"), (), 1, "unit"),
    "folder": Case(write_folder, "Set", "dance-v1", ("folder", "out"), (), 1, "unit"),
    "parquet": Case(write_parquet, "Set", "dance-v1", ("parquet", "out"), (), 1, "unit"),
}  # fmt: skip


def test_every_format_is_tested_here() -> None:
    assert IMPORTS.names() == sorted(CASES)


def bring_in(folder: Path, output: Path, *words: str, data: str = "digits") -> Outcome:
    root = (f"--data-root={ROOT}",) if ROOT else ()
    return command("import", *sorted(folder.iterdir()), f"--data={data}", *root, *words,
                   "--output", output)  # fmt: skip


def imported(case: Case, real: Real, place: Path, *words: str) -> CondensedSet:
    """The set that a format's files are imported as, in ``place / "set"``."""
    (place / "files").mkdir(parents=True)
    case.write(real, place / "files")
    data = real.train.name
    outcome = bring_in(place / "files", place / "set", *case.said, *words, data=data)
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == str(place / "set" / "condensed.safetensors")
    return dance.load(place / "set")


@pytest.mark.parametrize("name", CASES)
def test_a_set_comes_in_and_goes_out_again(name: str, each: Real, tmp_path: Path) -> None:
    case = CASES[name]
    condensed = imported(case, each, tmp_path)
    about = condensed.provenance
    assert condensed.origin == "imported" and about["label"] == f"{case.method} (imported)"
    assert about["config"]["evaluation"] == {"protocol": case.protocol}
    assert condensed.classes == each.train.classes
    assert (condensed.space, condensed.decoder.factor) == (case.space, case.factor)
    assert condensed.normalization == each.train.normalization
    assert torch.equal(condensed.pixels, case.pixels(each))
    assert torch.equal(condensed.labels, each.labels)
    eight_bit = name in ("folder", "parquet")
    assert (condensed.pixel_range is not None) == eight_bit
    assert condensed.learning_rate == (0.015625 if name in ("mtt", "datm") else None)
    if name == "datm":
        assert condensed.soft_labels is not None
        assert torch.allclose(condensed.soft_labels, soft_logits(each).softmax(1), atol=1e-6)

    kind, file, *more = case.to
    done("export", tmp_path / "set", tmp_path / file, "--to", kind, *more)
    again = tmp_path / file
    words = (f"--factor={case.factor}", f"--format={name}", *case.said)
    files = sorted(again.iterdir()) if again.is_dir() and kind == "mtt" else [again]
    root = (f"--data-root={ROOT}",) if ROOT else ()
    done(
        "import", *files, f"--data={each.train.name}", *root, *words, "--output", tmp_path / "again"
    )
    second = dance.load(tmp_path / "again")
    assert torch.equal(second.pixels, condensed.pixels)
    assert torch.equal(second.labels, condensed.labels)
    assert second.storage_bytes() == condensed.storage_bytes()


EXACT = ("dc", "dsa", "dm", "datadam", "idc", "dream", "dance", "ncfm", "mtt")


@pytest.mark.parametrize("name", EXACT)
def test_a_program_gets_its_own_bytes_back(name: str, each: Real, tmp_path: Path) -> None:
    case = CASES[name]
    imported(case, each, tmp_path)
    kind, file, *more = case.to
    done("export", tmp_path / "set", tmp_path / file, "--to", kind, *more)
    written = {path.name: path.read_bytes() for path in (tmp_path / "files").iterdir()}
    place = tmp_path / file
    back = {
        path.name: path.read_bytes() for path in (place.iterdir() if place.is_dir() else [place])
    }
    assert back == written


@pytest.mark.parametrize("name", ["dm", "idm", "ncfm", "mtt", "datm", "folder"])
def test_a_set_is_scored_like_our_own(name: str, each: Real, tmp_path: Path) -> None:
    imported(CASES[name], each, tmp_path)
    place = tmp_path / "set"
    scores = done("evaluate", place, *TINY, "--json").json["scores"]
    assert [score["label"] for score in scores] == [f"{CASES[name].method} (imported)"]
    assert scores[0]["protocol"].startswith(CASES[name].protocol)
    assert scores[0]["labels"] == ("soft" if name == "datm" else "hard")
    assert any("the set was imported" in note for note in scores[0]["notes"])
    assert not any("fingerprint" in note for note in scores[0]["notes"])
    done("report", place)
    assert "(imported)" in (place / "report.html").read_text(encoding="utf-8")


def test_imported_sets_are_compared_and_verified(real: Real, tmp_path: Path) -> None:
    for name in ("dm", "dsa"):
        imported(CASES[name], real, tmp_path / name)
        done("evaluate", tmp_path / name / "set", *TINY[:2], "--repeats=3", "--protocol=dsa-v1")
    found = done("compare", tmp_path / "dm" / "set", tmp_path / "dsa" / "set", "--json").json
    assert list(found["runs"]) == ["dm/set (imported)", "dsa/set (imported)"]
    assert len(found["tables"][0]["rows"]) == 2
    assert "holds" in done("verify", tmp_path / "dm" / "set").out


def test_what_8_bits_cost_is_scored(real: Real, tmp_path: Path) -> None:
    imported(CASES["dm"], real, tmp_path)
    outcome = command("export", tmp_path / "set", tmp_path / "out", "--to=folder", "--rescore")
    assert outcome.code == 2 and "no scores yet" in outcome.err
    done("evaluate", tmp_path / "set", *TINY)
    outcome = done("export", tmp_path / "set", tmp_path / "two", "--to=folder", "--rescore")
    assert "exported %" in outcome.out and "8 bits change pixels" in outcome.err
    outcome = command("export", tmp_path / "set", tmp_path / "three", "--to=dc", "--rescore")
    assert outcome.code == 2 and "leave it out" in outcome.err


class Program:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


PICKLED = [name for name in CASES if name not in ("folder", "parquet", "npz")]


@pytest.mark.parametrize("name", CASES)
def test_a_program_in_the_place_of_a_file_is_not_run(name: str, real: Real, tmp_path: Path) -> None:
    files, marker = tmp_path / "files", tmp_path / "marker"
    files.mkdir()
    CASES[name].write(real, files)
    for path in [path for path in sorted(files.rglob("*")) if path.is_file()][:2]:
        content = path.read_bytes()
        evils = [pickle.dumps(Program(marker)), saved([real.unit, Program(marker)])]
        buffer = io.BytesIO()
        np.savez(buffer, images=np.array([Program(marker)], dtype=object), labels=np.zeros(1))
        for evil in (*evils, buffer.getvalue()):
            path.write_bytes(evil)
            outcome = bring_in(files, tmp_path / "set", *CASES[name].said)
            assert outcome.code == 2 and "Traceback" not in outcome.err, outcome.err
            if name in PICKLED and evil in evils:
                assert "posix.system" in outcome.err
            assert not marker.exists() and not (tmp_path / "set").exists()
        path.write_bytes(content)


def test_soft_labels_of_epochs_are_left_out_and_named(real: Real, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    files = tmp_path / "files"
    files.mkdir()
    write_folder(real, files)
    for epoch in range(3):
        (files / "fkd" / f"epoch_{epoch}").mkdir(parents=True)
        batch = files / "fkd" / f"epoch_{epoch}" / "batch_0.tar"
        batch.write_bytes(saved([Program(marker)]))
    outcome = bring_in(files, tmp_path / "set")
    assert outcome.code == 0 and not marker.exists()
    notes = dance.load(tmp_path / "set").provenance["notes"]
    assert any("soft labels in fkd" in note and "3 epochs" in note for note in notes)


def test_a_set_of_some_classes(real: Real, tmp_path: Path) -> None:
    """Its classes are asked for, and it is scored on them."""
    for label in (5, 2):
        folder = tmp_path / "files" / "set" / str(label)
        folder.mkdir(parents=True)
        image = Image.fromarray(real.images[real.labels == label][0, 0].numpy())
        image.save(folder / "0.png")
    refused = bring_in(tmp_path / "files", tmp_path / "all")
    assert refused.code == 2 and "or these classes with --classes" in refused.err
    outcome = bring_in(tmp_path / "files", tmp_path / "some", "--classes", "2", "5")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "some")
    assert condensed.classes == ("2", "5")
    assert torch.equal(condensed.to_uint8()[0], real.images[real.labels == 2][0])
    done("evaluate", tmp_path / "some", "--protocol=quick-v1", *TINY)


def test_classes_by_name_in_any_order(real: Real, tmp_path: Path) -> None:
    """Class folders are sorted by name, which is not the order of every data set."""
    for label, number, image in pictures(real):
        place = tmp_path / "files" / "syn" / real.train.classes[9 - label]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number}.png")
    outcome = bring_in(tmp_path / "files", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "set")
    assert condensed.classes == real.train.classes
    expected = real.unit.view(10, IPC, *real.unit.shape[1:]).flip(0).flatten(0, 1)
    assert torch.equal(condensed.pixels, expected)


ELEVEN = tuple(f"class_{label}" for label in range(11))
"""Names whose alphabetical order is not that of their numbers."""


@pytest.fixture
def eleven(real: Real, tmp_path: Path) -> Path:
    """Class folders of these names, as data of one's own: the images of class k are of level k."""
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(ELEVEN):
            place = tmp_path / "data" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.new("L", (8, 8), 20 * label + number).save(place / f"{number}.png")
    return tmp_path / "data"


def levels_by_name(condensed: CondensedSet) -> dict[str, int]:
    """By class, the level of its first image."""
    images = condensed.to_uint8()
    return {
        name: int(images[condensed.rows(label)][0].max())
        for label, name in enumerate(condensed.classes)
    }


@pytest.mark.parametrize("mapping", [True, False])
def test_class_folders_come_back_by_their_names(
    mapping: bool, eleven: Path, tmp_path: Path
) -> None:
    """From data to an export and back, and with folders whose names are numbers elsewhere."""
    run = tmp_path / "run"
    done("condense", eleven, "--method=random", "--ipc=1", *TINY, "--evaluation.baselines=",
         "--output", run)  # fmt: skip
    made = dance.load(run)
    assert made.classes == tuple(sorted(ELEVEN)) != ELEVEN
    wanted = {name: 20 * label for label, name in enumerate(ELEVEN)}
    done("export", run, tmp_path / "out", "--to=folder")
    if not mapping:
        (tmp_path / "out" / "classes.json").unlink()
    done("import", tmp_path / "out", "--data", eleven, "--output", tmp_path / "set")
    condensed = dance.load(tmp_path / "set")
    assert condensed.classes == made.classes
    assert torch.equal(condensed.to_uint8(), made.to_uint8())
    found = levels_by_name(condensed)
    assert {name: level - level % 20 for name, level in found.items()} == wanted
    assert not any("number" in note or "order" in note for note in condensed.notes)
    done("export", run, tmp_path / "x.npz", "--to=npz")
    done("import", tmp_path / "x.npz", "--data", eleven, "--output", tmp_path / "arrays")
    assert dance.load(tmp_path / "arrays").normalization == made.normalization, "not in 32 bits"


def test_numbers_that_may_be_names_or_positions_are_refused(eleven: Path, tmp_path: Path) -> None:
    """2 may be class_2, or the class with label 2, which is class_10."""
    for label in range(11):
        place = tmp_path / "files" / f"new{label:03d}"
        place.mkdir(parents=True)
        Image.new("L", (8, 8), label).save(place / "0.png")
    outcome = command("import", tmp_path / "files", "--data", eleven, "--output", tmp_path / "set")
    assert outcome.code == 2 and "the classes must be those of data" in outcome.err


@pytest.mark.parametrize("name", ["{}", "{:05d}", "new{:03d}", "class_{}"])
def test_class_folders_of_numbers_are_labels(name: str, tmp_path: Path) -> None:
    """In any order of their names, where no class of the data is called so; with a note."""
    for label in range(100):
        place = tmp_path / "files" / name.format(label)
        place.mkdir(parents=True)
        Image.new("RGB", (32, 32), (2 * label,) * 3).save(place / "0.png")
    outcome = command("import", tmp_path / "files", "--data=cifar100", "--output", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "set")
    assert list(levels_by_name(condensed).values()) == [2 * label for label in range(100)]
    note = "the classes of the files are numbers, and are those of cifar100 in order"
    assert note in condensed.notes


def test_images_in_any_order_are_sorted(real: Real, tmp_path: Path) -> None:
    order = torch.randperm(len(real.labels), generator=torch.Generator().manual_seed(0))
    mixed = Real(real.train, real.images[order], real.labels[order])
    condensed = imported(CASES["datm"], replace(mixed, labels=real.labels), tmp_path / "datm")
    assert torch.equal(condensed.pixels, mixed.inputs), "DATM's are class by class"
    condensed = imported(CASES["dm"], mixed, tmp_path / "dm")
    assert torch.equal(condensed.labels, real.labels)
    sequence = mixed.labels.argsort(stable=True)
    assert torch.equal(condensed.pixels, mixed.inputs[sequence])
    assert "the images were sorted by class" in condensed.provenance["notes"]


def test_one_of_several_experiments(real: Real, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    sets = [[real.inputs + shift, real.labels] for shift in (0.0, 0.25, 0.5)]
    content = {"data": sets, "accs_all_exps": {"ConvNet": [np.float64(0.5)]}}
    path = tmp_path / "files" / "res_DSA_CIFAR10_ConvNet_2ipc.pt"
    path.write_bytes(saved(content))
    for experiment, words in ((3, ()), (1, ("--experiment=1",)), (2, ("--experiment=2",))):
        outcome = bring_in(tmp_path / "files", tmp_path / str(experiment), *words)
        assert outcome.code == 0, outcome.err
        assert f"number {experiment} of 3 sets" in outcome.err
        condensed = dance.load(tmp_path / str(experiment))
        assert torch.equal(condensed.pixels, sets[experiment - 1][0])
        assert condensed.provenance["label"] == "DSA (imported)", "the file's name says the method"
    outcome = bring_in(tmp_path / "files", tmp_path / "4", "--experiment=4")
    assert outcome.code == 2 and "one of the 3" in outcome.err


def test_a_file_called_dms_may_be_idms(real: Real, tmp_path: Path) -> None:
    """IDM's code calls its files as DM's does, and most of them are grids of 2 x 2 images."""
    (tmp_path / "files").mkdir()
    write_dc(real, tmp_path / "files")
    name = "res_DM_CIFAR10_ConvNet_2ipc.pt"
    (tmp_path / "files" / "set.pt").rename(tmp_path / "files" / name)
    outcome = bring_in(tmp_path / "files", tmp_path / "none")
    assert outcome.code == 2 and "any of dm, idm, which --format chooses): give --factor" in (
        outcome.err
    )
    assumed = "the factor 2 is that of most sets of IDM, and is not in the files: import a set of "
    for number, (words, label, factor) in enumerate((
        (("--format=dm",), "DM", 1),
        (("--format=idm",), "IDM", 2),
        (("--format=idm", "--factor=1"), "IDM", 1),
        (("--format=idm", "--factor=2"), "IDM", 2),
        (("--factor=2",), "DM/IDM", 2),
    )):  # fmt: skip
        outcome = bring_in(tmp_path / "files", tmp_path / str(number), *words)
        assert outcome.code == 0, outcome.err
        condensed = dance.load(tmp_path / str(number))
        assert condensed.provenance["label"] == f"{label} (imported)"
        assert condensed.decoder.factor == factor
        said = any(note.startswith(assumed) for note in condensed.notes)
        assert said == (words == ("--format=idm",)) == (assumed in outcome.err)


@pytest.mark.parametrize("name", ["idm", "ncfm"])
def test_a_factor_that_only_the_format_settles_is_said(
    name: str, real: Real, tmp_path: Path
) -> None:
    condensed = imported(CASES[name], real, tmp_path)
    assert any("--factor 1" in note for note in condensed.notes)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--experiment=2",), "--experiment must be 1, or left out, since "),
        (("--whitening=zca",), "--whitening must be left out, or be none, since the files state"),
        (("--statistics=own",), "--statistics must be left out, or be shared, since the files"),
        (("--factor=2",), "--factor must be left out, or be 1, since the files state"),
    ],
)
def test_what_contradicts_the_files_is_refused(
    words: tuple[str, ...], says: str, real: Real, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    stated = {"mean": [0.5], "std": [0.25], "factor": 1}
    arrays = {"images": real.unit.numpy(), "labels": real.labels.numpy()}
    np.savez(tmp_path / "files" / "set.npz", **arrays, **stated)
    outcome = bring_in(tmp_path / "files", tmp_path / "set", *words)
    assert outcome.code == 2 and says in outcome.err
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        (lambda real: (real.images, real.labels), (), "--format chooses): give --factor N"),
        (lambda real: (real.images, real.labels), ("--format=idm",), "input must be floats"),
        (
            lambda real: {"data": [[real.images, real.labels]], "accs_all_exps": {}},
            ("--format=dc",), "the pixels are uint8; give --space unit",
        ),
        (
            lambda real: {"images": (real.images > 9).to(torch.uint8), "labels": real.labels},
            (), "pixels of uint8 must lie in 0..255: they are only 0 and 1",
        ),
        (
            lambda real: {
                "images": real.unit, "labels": real.labels,
                "mean": torch.tensor([120.0]), "std": torch.tensor([60.0]),
            },
            (), "with a std above 0: got mean 120 and std 60; divide them by 255",
        ),
    ],
)  # fmt: skip
def test_bytes_that_are_no_images_are_refused(
    content: Callable[[Real], Any], words: tuple[str, ...], says: str, real: Real, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "set.pt").write_bytes(saved(content(real)))
    outcome = bring_in(tmp_path / "files", tmp_path / "set", *words)
    assert outcome.code == 2 and says in outcome.err


def test_a_tuple_may_hold_images(real: Real, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "set.pt").write_bytes(saved((real.images, real.labels)))
    outcome = bring_in(tmp_path / "files", tmp_path / "set", "--format=pt")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "set")
    assert torch.equal(condensed.to_uint8(), real.images) and condensed.space == "unit"


def test_a_whitened_set_comes_back_from_its_export(tmp_path: Path) -> None:
    white = dance.condense(
        "digits", method="datadam", ipc=1, output=tmp_path / "run", networks="mlp", epochs=1,
        repeats=1, baselines=(), whitening="zca", options={"iterations": 2}, network={"width": 16},
    )  # fmt: skip
    assert white.normalization.whitening is not None
    (tmp_path / "files").mkdir()
    done("export", tmp_path / "run", tmp_path / "files" / "set.npz", "--to=npz")
    outcome = bring_in(tmp_path / "files", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    back = dance.load(tmp_path / "set")
    torch.testing.assert_close(back.images(), white.images(), atol=1e-4, rtol=0)
    assert back.provenance["config"]["whitening"] == "zca"


@pytest.fixture(scope="module")
def whitened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sets of the digits by the kind of their whitening."""
    place = tmp_path_factory.mktemp("whitened")
    for kind in ("zca", "zca_standardised"):
        dance.condense(
            "digits", method="datadam", ipc=1, output=place / kind, networks="mlp", epochs=1,
            repeats=1, baselines=(), whitening=kind, options={"iterations": 2},
            network={"width": 16},
        )  # fmt: skip
    return {path.name: path for path in place.iterdir()}


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_whitened_images_of_a_folder_come_back_whitened(
    kind: str, whitened: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done("export", whitened["zca"], out, "--to", kind)
    source = dance.load(whitened["zca"]).normalization
    assert source.whitening is not None
    shards = list(out.rglob("*.parquet"))
    for number, place in enumerate((out, *shards, *(shard.parent for shard in shards))):
        done("import", place, "--data=digits", "--output", tmp_path / str(number))
        back = dance.load(tmp_path / str(number))
        assert back.normalization.whitening is not None
        assert torch.equal(back.normalization.whitening.pack(), source.whitening.pack())
        assert (back.normalization.mean, back.normalization.std) == (source.mean, source.std)
        assert back.provenance["config"]["whitening"] == source.whitening.name
    words = ("import", out, "--data=digits", "--output", tmp_path / "set")
    outcome = command(*words, "--whitening=none")
    assert outcome.code == 2 and "--whitening must be left out, or be zca, since" in outcome.err
    np.savez(out / "whitening.npz", other=np.zeros(3))
    outcome = command(*words)
    assert outcome.code == 2 and "must hold whitening_mean and whitening_matrix" in outcome.err
    (out / "whitening.npz").unlink()
    done(*words)
    assert dance.load(tmp_path / "set").normalization.whitening is None


def test_both_kinds_of_whitening_come_back_from_mtts_files(
    whitened: dict[str, Path], tmp_path: Path
) -> None:
    """zca unless another kind is given; the images before whitening, beside them, must agree."""
    for kind, other in (("zca", "zca_standardised"), ("zca_standardised", "zca")):
        out = tmp_path / kind
        done("export", whitened[kind], out, "--to=mtt")
        words = ("import", out, "--data=digits", "--output", tmp_path / f"{kind}-set")
        wrong = [f"--whitening={other}"] if kind == "zca" else []
        outcome = command(*words, *wrong)
        assert outcome.code == 2 and "--whitening zca or zca_standardised" in outcome.err
        done(*words, *([] if kind == "zca" else [f"--whitening={kind}"]))
        made, back = dance.load(whitened[kind]), dance.load(tmp_path / f"{kind}-set")
        assert back.provenance["config"]["whitening"] == kind
        torch.testing.assert_close(back.images(), made.images(), atol=1e-4, rtol=0)
    outcome = command(*words[:-1], tmp_path / "none", "--whitening=none")
    assert outcome.code == 2 and "or be zca or zca_standardised, since" in outcome.err


@pytest.mark.parametrize("kind", ["npz", "pt"])
@pytest.mark.parametrize("own", [False, True])
def test_published_statistics_come_back_exactly(kind: str, own: bool, tmp_path: Path) -> None:
    """Arrays hold them with 32 bits; DD-Ranking's format, for one, needs the exact ones."""
    known = KNOWN.get("cifar100")
    pair = known.own_constants if own else known.constants
    assert pair is not None
    condensed = CondensedSet(
        torch.rand(100, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        torch.arange(100),
        known.classes,
        Normalization(*pair),
    )
    condensed.save(tmp_path / "set.safetensors")
    done("export", tmp_path / "set.safetensors", tmp_path / f"x.{kind}", "--to", kind)
    words = ("--data=cifar100", "--output", tmp_path / "set")
    if own:
        outcome = command("import", tmp_path / f"x.{kind}", *words, "--statistics=shared")
        assert outcome.code == 2 and "--statistics must be left out, or be own" in outcome.err
    done("import", tmp_path / f"x.{kind}", *words)
    back = dance.load(tmp_path / "set")
    assert back.normalization == condensed.normalization
    statistics = back.provenance["config"]["source"]["statistics"]
    assert statistics == ("own" if own else "shared")
    outcome = command("export", tmp_path / "set", tmp_path / "dd", "--to=ddranking")
    assert outcome.code == (2 if own else 0), outcome.err


def test_classes_that_are_numbers_and_names_are_not_guessed(real: Real, tmp_path: Path) -> None:
    for name in "123":
        place = tmp_path / "data" / name
        place.mkdir(parents=True)
        for image in range(4):
            Image.new("L", (8, 8), 50 * image + int(name)).save(place / f"{image}.png")
    for name in "012":
        place = tmp_path / "files" / name
        place.mkdir(parents=True)
        Image.new("L", (8, 8), 9).save(place / "0.png")
    words = (
        "import",
        tmp_path / "files",
        "--data",
        tmp_path / "data",
        "--output",
        tmp_path / "set",
    )
    outcome = command(*words)
    assert outcome.code == 2 and "the classes must be those of data" in outcome.err


def test_whitened_images_are_checked_and_scored(tmp_path: Path) -> None:
    """MTT's code stores the images before whitening, too; digits are small enough to whiten."""
    digits = some("digits")
    white = fit_cached(digits.train.images, digits.train.fingerprint)
    inputs = white.apply(digits.unit)
    files = tmp_path / "files"
    files.mkdir()
    (files / "images_10.pt").write_bytes(saved(inputs))
    (files / "labels_10.pt").write_bytes(saved(digits.labels))
    outcome = bring_in(files, tmp_path / "none", data="digits")
    assert outcome.code == 2 and "--whitening" in outcome.err
    (files / "images_zca_10.pt").write_bytes(saved(white.invert(inputs)))
    outcome = bring_in(files, tmp_path / "set", data="digits")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "set")
    assert condensed.space == "normalized" and torch.equal(condensed.images(), inputs)
    assert condensed.normalization.pack()[0]["name"] == "zca"
    done("evaluate", tmp_path / "set", *TINY)
    done("export", tmp_path / "set", tmp_path / "out", "--to=mtt")
    assert (tmp_path / "out" / "images_best.pt").read_bytes() == saved(inputs)

    (files / "images_zca_10.pt").write_bytes(saved(white.invert(inputs) + 0.1))
    outcome = bring_in(files, tmp_path / "wrong", data="digits")
    assert outcome.code == 2 and "bring the images back" in outcome.err
    (files / "images_zca_10.pt").write_bytes(saved(digits.unit))
    (files / "images_10.pt").unlink()
    outcome = bring_in(files, tmp_path / "unit", data="digits")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "unit")
    assert condensed.space == "unit"
    assert torch.allclose(condensed.images(), inputs, atol=1e-5)


ASKED = {
    "dc": ("--factor", "--protocol", "--whitening", "--format"),
    "idc": ("--factor", "--protocol", "--format"),
    "mtt": ("--whitening",),
}


@pytest.mark.parametrize("name", ASKED)
def test_all_that_is_missing_is_asked_for_at_once(name: str, real: Real, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    CASES[name].write(real, tmp_path / "files")
    outcome = bring_in(tmp_path / "files", tmp_path / "set")
    assert outcome.code == 2
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("dance: ")]
    options = ("--factor", "--protocol", "--whitening", "--statistics", "--format")
    assert {option for option in options if option in line} == set(ASKED[name])
    outcome = bring_in(tmp_path / "files", tmp_path / "set", "--factor=1", "--protocol=dsa-v1",
                       "--whitening=none")  # fmt: skip
    assert outcome.code == 0, outcome.err


def test_statistics_are_asked_for_where_codes_differ(real: Real, tmp_path: Path) -> None:
    """DC's and DSA's code standardised CIFAR-100 with CIFAR-10's constants, and then its own."""
    (tmp_path / "files").mkdir()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(100, 3, 32, 32, generator=generator)
    content = {"data": [[pixels, torch.arange(100)]], "accs_all_exps": {}}
    (tmp_path / "files" / "set.pt").write_bytes(saved(content))
    outcome = bring_in(tmp_path / "files", tmp_path / "a", "--format=dc", data="cifar100")
    assert outcome.code == 2 and "--statistics" in outcome.err
    found = {}
    for name, words in {
        "shared": ("--format=dc", "--statistics=shared"),
        "own": ("--format=dc", "--statistics=own"),
        "dm": ("--format=dm",),
    }.items():
        outcome = bring_in(tmp_path / "files", tmp_path / name, *words, data="cifar100")
        assert outcome.code == 0, outcome.err
        found[name] = dance.load(tmp_path / name).normalization
    assert found["own"] == found["dm"] != found["shared"]


WRONG: dict[str, tuple[Callable[[Real], Any], tuple[str, ...], str]] = {
    "other classes": (
        lambda real: [real.unit[:3], real.labels[:3]], ("--format=ncfm",), "must have an image",
    ),
    "labels beyond": (
        lambda real: [real.unit, real.labels + 5], ("--format=ncfm",), "must lie in 0",
    ),
    "fewer labels": (
        lambda real: [real.unit, real.labels[:-1]], ("--format=ncfm",), "one whole number",
    ),
    "not square": (
        lambda real: [real.unit[..., :-1], real.labels], ("--format=ncfm",), "(n, C, S, S)",
    ),
    "network input": (
        lambda real: [3 * real.inputs, real.labels], ("--format=ncfm",), "--space normalized",
    ),
    "images": (
        lambda real: {"data": [[real.unit, real.labels]]}, ("--format=dm",), "--space unit",
    ),
    "a network": (
        lambda real: {"state_dict": {"weight": real.unit}, "epoch": 3}, (),
        "found x.pt: a dictionary of 'state_dict', 'epoch'",
    ),
    "another format": (
        lambda real: [real.unit, real.labels], ("--format=mtt",), "format that dance reads, mtt",
    ),
    "a factor too high": (
        lambda real: [real.unit, real.labels], ("--format=ncfm", "--factor=99"), "factor",
    ),
    "no such format": (lambda real: [], ("--format=mttt",), "did you mean 'mtt'"),
    "no such protocol": (lambda real: [], ("--protocol=x",), "protocol"),
    "not finite": (
        lambda real: [real.unit / 0, real.labels], ("--format=ncfm", "--space=unit"), "finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused(what: str, real: Real, tmp_path: Path) -> None:
    make, words, message = WRONG[what]
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.pt").write_bytes(saved(make(real)))
    outcome = bring_in(tmp_path / "files", tmp_path / "set", *words)
    assert outcome.code == 2 and message in outcome.err, outcome.err
    assert not (tmp_path / "set").exists()


ODD: dict[str, Callable[[Real], Any]] = {
    "factor of many": lambda real: {"images": real.unit, "labels": real.labels, "factor": [1, 2]},
    "rate of text": lambda real: {"images": real.unit, "labels": real.labels, "learning_rate": "x"},
    "one class": lambda real: {"images": real.unit, "labels": real.labels, "classes": "cat"},
    "classes of numbers": lambda real: {"images": real.unit, "labels": real.labels, "classes": 3},
    "flat images": lambda real: {"images": real.unit.flatten(1), "labels": real.labels},
    "whole images": lambda real: {"images": real.images.long(), "labels": real.labels},
    "complex images": lambda real: [real.unit + 1j, real.labels],
    "soft of others": lambda real: {
        "images": real.unit, "labels": real.labels, "soft_labels": torch.ones(3, 3)
    },
    "mean of others": lambda real: {
        "images": real.unit, "labels": real.labels, "mean": torch.ones(2), "std": torch.ones(2)
    },
    "whitening of others": lambda real: {
        "images": real.unit, "labels": real.labels, "mean": torch.ones(1), "std": torch.ones(1),
        "whitening_mean": torch.ones(3), "whitening_matrix": torch.eye(4),
    },
    "no experiments": lambda real: {"data": [], "accs_all_exps": {}},
    "half an experiment": lambda real: {"data": [[real.unit, real.labels], [real.unit]]},
    "no images": lambda real: [real.unit[:0], real.labels[:0]],
    "text": lambda real: "images",
    "nothing": lambda real: None,
    "a list in itself": lambda real: [[[[[]]]]],
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_content_is_refused_in_one_message(what: str, real: Real, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.pt").write_bytes(saved(ODD[what](real)))
    outcome = bring_in(tmp_path / "files", tmp_path / "set")
    assert outcome.code == 2, outcome.err
    assert [line for line in outcome.err.splitlines() if line.startswith("dance: ")]
    assert "bug" not in outcome.err and not (tmp_path / "set").exists()


def test_images_of_other_channels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    pixels = torch.rand(10, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    content = {"images": pixels, "labels": torch.arange(10)}
    (tmp_path / "files" / "x.pt").write_bytes(saved(content))
    outcome = bring_in(tmp_path / "files", tmp_path / "set", data="fashion_mnist")
    assert outcome.code == 2 and "must be grey" in outcome.err


def test_data_of_ones_own(real: Real, tmp_path: Path) -> None:
    """A path names the data: its classes, and a mean and a standard deviation that are computed."""
    photos = tmp_path / "photos"
    for split, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = photos / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(real.images[2 * label + number % 2, 0].numpy()).save(
                    folder / f"{number}.png"
                )
    (tmp_path / "files").mkdir()
    content = {
        "images": real.unit[:4], "labels": torch.tensor([0, 0, 1, 1]), "classes": ["dog", "cat"]
    }  # fmt: skip
    (tmp_path / "files" / "x.pt").write_bytes(saved(content))
    outcome = bring_in(tmp_path / "files", photos / "set", data=str(photos))
    assert outcome.code == 2 and "outside of the data folder" in outcome.err
    outcome = bring_in(tmp_path / "files", tmp_path / "set", data=str(photos))
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "set")
    train = load(str(photos), "train")
    assert condensed.classes == ("cat", "dog")
    assert torch.equal(condensed.pixels, real.unit[[2, 3, 0, 1]])
    assert condensed.normalization == train.normalization
    assert condensed.provenance["data_fingerprint"] == train.fingerprint
    done("evaluate", tmp_path / "set", *TINY)


@pytest.mark.slow
def test_imported_sets_are_ranked(real: Real, tmp_path: Path) -> None:
    """Against as many random images as they have; not with labels of unknown teachers."""
    imported(CASES["dm"], real, tmp_path / "dm")
    words = ("--ranking", "--protocol=quick-v1", "--epochs=1", "--repeats=2", "--device=cpu")
    found = done("evaluate", tmp_path / "dm" / "set", *words)
    assert "robust" in found.out
    imported(CASES["datm"], real, tmp_path / "datm")
    outcome = command("evaluate", tmp_path / "datm" / "set", *words)
    assert outcome.code == 2 and "--labels hard" in outcome.err


def test_a_taken_place_and_missing_files_are_refused(real: Real, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    write_npz(real, tmp_path / "files")
    outcome = bring_in(tmp_path / "files", tmp_path / "files")
    assert outcome.code == 2 and "empty or does not exist" in outcome.err
    outcome = command("import", tmp_path / "no.pt", "--data=digits", "--output", tmp_path / "set")
    assert outcome.code == 2 and "no file or folder" in outcome.err
    outcome = command("import", tmp_path / "files" / "set.npz", "--data=digits")
    assert outcome.code == 2 and "--output" in outcome.err
    done("import", tmp_path / "files" / "set.npz", "--data=digits", "--output", tmp_path / "set")
    outcome = command("import", tmp_path / "set" / "condensed.safetensors", "--data=digits",
                      "--output", tmp_path / "other")  # fmt: skip
    assert outcome.code == 2 and "needs no import" in outcome.err


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [
        (-1.0, 1.0, "50 % of them lie outside of [0, 1]; give --space normalized"),
        (0.0, 255.0, "store them as uint8, or divide them by 255"),
    ],
)
def test_pixels_of_another_range_are_refused(
    low: float, high: float, advice: str, real: Real, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    images = torch.linspace(low, high, real.images.numel()).view_as(real.images)
    np.savez(tmp_path / "files" / "set.npz", images=images.numpy(), labels=real.labels.numpy())
    outcome = bring_in(tmp_path / "files", tmp_path / "set")
    assert outcome.code == 2 and advice in outcome.err


def test_a_folder_is_named_in_place_of_its_files(real: Real, tmp_path: Path) -> None:
    condensed = imported(CASES["mtt"], real, tmp_path / "mtt")
    condensed.save(tmp_path / "set.safetensors")
    done("export", tmp_path / "set.safetensors", tmp_path / "files", "--to", "mtt")
    words = ("--data=digits", "--whitening=none", "--output", tmp_path / "again")
    done("import", tmp_path / "files", *words)
    assert torch.equal(dance.load(tmp_path / "again").pixels, condensed.pixels)


def test_classes_of_another_list_are_pointed_out(tmp_path: Path) -> None:
    """MTT's fruits are not those of DANCE."""
    (tmp_path / "files").mkdir()
    pixels = torch.randn(10, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    (tmp_path / "files" / "images.pt").write_bytes(saved(pixels))
    (tmp_path / "files" / "labels.pt").write_bytes(saved(torch.arange(10)))
    outcome = bring_in(tmp_path / "files", tmp_path / "a", "--whitening=none", data="imagefruit")
    assert outcome.code == 2 and "--data imagefruit_mtt" in outcome.err
    outcome = bring_in(
        tmp_path / "files", tmp_path / "a", "--whitening=none", data="imagefruit_mtt"
    )
    assert outcome.code == 0, outcome.err


def test_8_bits_stay_8_bits(real: Real, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    images = real.images.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "files" / "set.npz", images=images.squeeze(), labels=real.labels.numpy())
    outcome = bring_in(tmp_path / "files", tmp_path / "set")
    assert outcome.code == 0, outcome.err
    condensed = dance.load(tmp_path / "set")
    assert condensed.storage_bytes() == real.images.numel()
    assert torch.equal((condensed.pixels * 255).round().to(torch.uint8), real.images)


def test_an_export_to_arrays_states_all_that_is_needed(real: Real, tmp_path: Path) -> None:
    """Normalisation, factor, soft labels and learning rate return from .npz and .pt."""
    condensed = replace(
        imported(CASES["datm"], real, tmp_path / "datm"), space="unit", pixels=real.unit
    )
    condensed.save(tmp_path / "set.safetensors")
    for kind in ("npz", "pt"):
        (tmp_path / kind).mkdir()
        done("export", tmp_path / "set.safetensors", tmp_path / kind / f"x.{kind}", "--to", kind)
        outcome = bring_in(tmp_path / kind, tmp_path / f"{kind}-set")
        assert outcome.code == 0, outcome.err
        again = dance.load(tmp_path / f"{kind}-set")
        assert torch.equal(again.pixels, condensed.pixels)
        assert again.soft_labels is not None and condensed.soft_labels is not None
        assert torch.allclose(again.soft_labels, condensed.soft_labels, atol=1e-7)
        assert again.learning_rate == condensed.learning_rate
        assert again.normalization.mean == pytest.approx(condensed.normalization.mean)
