"""Writers of the same 400 images in every layout that is read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dance.data.known import KNOWN
from unit import python2

Split = tuple[np.ndarray, np.ndarray]
TEN = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Pictures:
    """400 images, sorted by class: (N, S, S) or (N, S, S, 3) uint8 and (N,) int64 by split."""

    splits: dict[str, Split]
    classes: tuple[str, ...]
    encoded: dict[str, list[bytes]]

    def rows(self) -> list[tuple[str, int, str, bytes]]:
        """Split, number within the split, class and encoded image of all images, in order."""
        return [
            (split, number, self.classes[label], self.encoded[split][number])
            for split, (_, labels) in self.splits.items()
            for number, label in enumerate(labels.tolist())
        ]


@cache
def pictures(
    classes: tuple[str, ...] = TEN,
    side: int = 12,
    grey: bool = False,
    coding: str = "PNG",
    whole: bool = False,
) -> Pictures:
    """Scikit-learn's digits at a size, in a colour of their class, coded and decoded again.

    Args:
        classes: K names; K divides 40.
        side: S in pixels.
        grey: one channel.
        coding: ``"PNG"`` or ``"JPEG"``.
        whole: all images are the train split.
    """
    from sklearn.datasets import load_digits

    stored = np.rint(load_digits().images / 16 * 255).astype(np.uint8)
    counts = {"train": 400} if whole else {"train": 300, "test": 100}
    splits, encoded, first = {}, {}, 0
    for split, count in counts.items():
        labels = np.repeat(np.arange(len(classes)), count // len(classes))
        cells = []
        for number, label in enumerate(labels.tolist()):
            image = Image.fromarray(stored[first + number]).resize((side, side))
            if not grey:
                colour = [(label * step) % 256 for step in (37, 91, 151)]
                mask = Image.new("RGB", image.size, tuple(colour))
                image = Image.composite(image.convert("RGB"), mask, image)
            stream = io.BytesIO()
            image.save(stream, coding)
            cells.append(stream.getvalue())
        first += count
        decoded = np.stack([np.asarray(Image.open(io.BytesIO(cell))) for cell in cells])
        splits[split], encoded[split] = (decoded, labels), cells
    return Pictures(splits, classes, encoded)


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def folder(root: Path, data: Pictures) -> Path:
    for split, number, name, cell in data.rows():
        part = root / "photos" if len(data.splits) == 1 else root / "photos" / split
        write(part / name / f"{number:04}.png", cell)
    return root / "photos"


def table(data: Pictures, split: str, text: bool = False) -> pa.Table:
    """A split in the Hugging Face layout, with class names, or with text for labels."""
    cells = [{"bytes": cell, "path": None} for cell in data.encoded[split]]
    labels = data.splits[split][1].tolist()
    image = pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    made = pa.table(
        {"image": image, "label": [data.classes[x] for x in labels] if text else labels}
    )
    kind = {"_type": "Value"} if text else {"_type": "ClassLabel", "names": list(data.classes)}
    said = {"info": {"features": {"image": {"_type": "Image"}, "label": kind}}}
    return made.replace_schema_metadata({"huggingface": json.dumps(said)})


def parquet(root: Path, data: Pictures, text: bool = False) -> Path:
    for split in data.splits:
        pq.write_table(table(data, split, text), root / f"{split}-00000-of-00001.parquet")
    return root


def parquet_text(root: Path, data: Pictures) -> Path:
    return parquet(root, data, text=True)


def parquet_file(root: Path, data: Pictures) -> Path:
    pq.write_table(table(data, "train"), root / "set")
    return root / "set"


def npz(root: Path, data: Pictures) -> Path:
    names = {"train": ("images", "labels"), "test": ("test_images", "test_labels")}
    arrays = {n: a for s, pair in data.splits.items() for n, a in zip(names[s], pair, strict=True)}
    np.savez(root / "set.npz", classes=np.array(data.classes), **arrays)
    return root / "set.npz"


def npz_text(root: Path, data: Pictures) -> Path:
    (train, labels), (test, test_labels) = data.splits["train"], data.splits["test"]
    names = np.array(data.classes)
    np.savez(
        root / "set.npz", images=train, labels=names[labels],
        test_images=test, test_labels=names[test_labels],
    )  # fmt: skip
    return root / "set.npz"


def medmnist(root: Path, data: Pictures) -> Path:
    (train, labels), (test, test_labels) = data.splits["train"], data.splits["test"]
    np.savez_compressed(
        root / "pathmnist.npz", train_images=train, train_labels=labels[:, None].astype(np.uint8),
        val_images=test[:5], val_labels=test_labels[:5, None],
        test_images=test, test_labels=test_labels[:, None],
    )  # fmt: skip
    return root / "pathmnist.npz"


def keras(root: Path, data: Pictures) -> Path:
    (train, labels), (test, test_labels) = data.splits["train"], data.splits["test"]
    np.savez(root / "m", x_train=train, y_train=labels, x_test=test, y_test=test_labels)
    (root / "m.npz").rename(root / "m")
    return root / "m"


def npy(root: Path, data: Pictures) -> Path:
    for split, (images, labels) in data.splits.items():
        ending = "" if len(data.splits) == 1 else f"_{split}"
        np.save(root / f"X{ending}.npy", images)
        np.save(root / f"y{ending}.npy", labels)
    return root


def planes(images: np.ndarray) -> np.ndarray:
    """(N, 3 S S): one plane of each image after the other."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def cifar10(root: Path, data: Pictures) -> Path:
    train, labels = data.splits["train"]
    batches = {f"data_batch_{n + 1}": slice(60 * n, 60 * n + 60) for n in range(5)}
    parts = {name: (train[rows], labels[rows]) for name, rows in batches.items()}
    for name, (images, numbers) in (parts | {"test_batch": data.splits["test"]}).items():
        content = {"data": planes(images), "labels": numbers.tolist(), "filenames": ["x"] * 3}
        write(root / "cifar-10-batches-py" / name, python2.dumps(content))
    meta = {"num_cases_per_batch": 60, "label_names": list(data.classes), "num_vis": 3072}
    write(root / "cifar-10-batches-py" / "batches.meta", python2.dumps(meta))
    write(root / "cifar-10-batches-py" / "readme.html", "<a>")
    return root


def cifar100(root: Path, data: Pictures) -> Path:
    for split, (images, labels) in data.splits.items():
        coarse = (labels // 5).tolist()
        content = {"fine_labels": labels.tolist(), "coarse_labels": coarse, "data": planes(images)}
        write(root / "cifar-100-python" / split, python2.dumps(content))
    meta = {"fine_label_names": list(data.classes), "coarse_label_names": ["fish"]}
    write(root / "cifar-100-python" / "meta", python2.dumps(meta))
    return root / "cifar-100-python"


def idx(root: Path, data: Pictures) -> Path:
    for split, name in (("train", "train"), ("test", "t10k")):
        for kind, array in zip(("images", "labels"), data.splits[split], strict=True):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            file = f"{name}-{kind}-idx{array.ndim}-ubyte"
            write(root / "MNIST" / "raw" / file, head + array.astype(np.uint8).tobytes())
    return root / "MNIST"


def idx_packed(root: Path, data: Pictures) -> Path:
    for path in list((idx(root, data) / "raw").iterdir()):
        write(path.with_name(f"{path.name}.gz"), gzip.compress(path.read_bytes()))
        path.unlink()
    return root / "MNIST" / "raw"


def svhn(root: Path, data: Pictures) -> Path:
    from scipy.io import savemat

    for split, (images, labels) in data.splits.items():
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        arrays = {"X": images.transpose(1, 2, 3, 0), "y": digits}
        savemat(root / f"{split}_32x32.mat", arrays, do_compression=True)
    write(root / "extra_32x32.mat", "never opened")
    return root


def stl10(root: Path, data: Pictures) -> Path:
    place = root / "stl10_binary"
    for split, (images, labels) in data.splits.items():
        write(place / f"{split}_X.bin", images.transpose(0, 3, 2, 1).tobytes())
        write(place / f"{split}_y.bin", (labels + 1).astype(np.uint8).tobytes())
    write(place / "unlabeled_X.bin", b"never opened")
    write(place / "class_names.txt", "\n".join(data.classes) + "\n")
    return root


def tiny_imagenet(root: Path, data: Pictures) -> Path:
    place, lines = root / "tiny-imagenet-200", []
    for split, number, name, cell in data.rows():
        wordnet = f"n{data.classes.index(name):08}"
        if split == "train":
            write(place / "train" / wordnet / "images" / f"{wordnet}_{number:04}.JPEG", cell)
            write(place / "train" / wordnet / f"{wordnet}_boxes.txt", "x\t0\t0\t9\t9\n")
        else:
            write(place / "val" / "images" / f"val_{number:04}.JPEG", cell)
            lines.append(f"val_{number:04}.JPEG\t{wordnet}\t0\t32\t44\t62\n")
    write(place / "val" / "val_annotations.txt", "".join(lines))
    write(place / "test" / "images" / "test_0.JPEG", b"never opened")
    words = [f"n{n:08}\t{name}, another word\n" for n, name in enumerate(data.classes)]
    write(place / "words.txt", "n99999999\tentity\n" + "".join(words))
    return place


def saved(root: Path, data: Pictures, text: bool = False) -> Path:
    """As ``datasets`` 5 writes it; test_published.py holds it to the library."""
    for split in data.splits:
        place = root if len(data.splits) == 1 else root / split
        made = table(data, split, text)
        half, names = len(made) // 2, [f"data-0000{n}-of-00002.arrow" for n in range(2)]
        place.mkdir(exist_ok=True)
        for name, part in zip(names, (made.slice(0, half), made.slice(half)), strict=True):
            with (
                pa.OSFile(str(place / name), "wb") as file,
                pa.ipc.new_stream(file, made.schema) as out,
            ):
                out.write_table(part, 7)
        write(place / "state.json", json.dumps({"_data_files": [{"filename": n} for n in names]}))
        write(place / "dataset_info.json", "{}")
    if len(data.splits) > 1:
        write(root / "dataset_dict.json", json.dumps({"splits": list(data.splits)}))
    return root


def saved_text(root: Path, data: Pictures) -> Path:
    return saved(root, data, text=True)


def metadata_csv(root: Path, data: Pictures) -> Path:
    for split in data.splits:
        rows = [("file_name", "label")]
        for each, number, name, cell in data.rows():
            if each == split:
                write(root / split / "images" / f"{number:04}.png", cell)
                rows.append((f"images/{number:04}.png", name))
        with (root / split / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return root


def metadata_jsonl(root: Path, data: Pictures) -> Path:
    lines = []
    for split, number, name, cell in data.rows():
        write(root / f"{split}-{number:04}.png", cell)
        lines.append({"file_name": f"{split}-{number:04}.png", "label": name, "split": split})
    write(root / "metadata.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return root


def table_of_files(root: Path, data: Pictures) -> Path:
    lines = ["kind;file;colour;label"]
    for split, number, name, cell in data.rows():
        write(root / "all" / f"{split}{number:04}.jpg", cell)
        lines.append(f"{name};all/{split}{number:04}.jpg;red;{number}")
    write(root / "labels.csv", "\ufeff" + "\r\n".join(lines) + "\r\n")
    return root / "labels.csv"


def shards(root: Path, data: Pictures, label: Callable[[int, str], dict[str, str]]) -> Path:
    for split in data.splits:
        rows = [row for row in data.rows() if row[0] == split]
        for shard in range(2):
            with tarfile.open(root / f"{split}-{shard:05}.tar", "w") as archive:
                for _, number, name, cell in rows[shard * 45 :][: None if shard else 45]:
                    members = {"png": cell} | {
                        kind: text.encode()
                        for kind, text in label(data.classes.index(name), name).items()
                    }
                    for kind, content in members.items():
                        member = tarfile.TarInfo(f"{'deep/' * 30}{number:05}.{kind}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
    return root


def webdataset(root: Path, data: Pictures) -> Path:
    return shards(root, data, lambda number, name: {"cls": f"{number}\n", "json": '{"size": 3}'})


def webdataset_json(root: Path, data: Pictures) -> Path:
    return shards(root, data, lambda number, name: {"json": json.dumps({"label": name})})


def webdataset_text(root: Path, data: Pictures) -> Path:
    return shards(root, data, lambda number, name: {"txt": name})


HUNDRED = KNOWN.get("cifar100").classes
STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
LAYOUTS: dict[str, tuple[Callable[[Path, Pictures], Path], dict[str, Any]]] = {
    "class folders with splits": (folder, {}),
    "class folders": (folder, {"whole": True}),
    "parquet": (parquet, {}),
    "parquet with text labels": (parquet_text, {}),
    "one parquet file without a suffix": (parquet_file, {"whole": True}),
    "npz with text labels": (npz_text, {}),
    "MedMNIST": (medmnist, {"classes": DIGITS, "side": 28}),
    "Keras": (keras, {"classes": DIGITS, "side": 28, "grey": True}),
    "npy": (npy, {"classes": DIGITS}),
    "npy without splits": (npy, {"classes": DIGITS, "whole": True}),
    "CIFAR-10": (cifar10, {"side": 32}),
    "CIFAR-100": (cifar100, {"classes": HUNDRED, "side": 32}),
    "MNIST": (idx, {"classes": DIGITS, "side": 28, "grey": True}),
    "packed MNIST": (idx_packed, {"classes": DIGITS, "side": 28, "grey": True}),
    "SVHN": (svhn, {"classes": DIGITS, "side": 32}),
    "STL-10": (stl10, {"classes": STL, "side": 96}),
    "TinyImageNet": (tiny_imagenet, {"side": 64, "coding": "JPEG"}),
    "save_to_disk": (saved, {}),
    "save_to_disk without splits": (saved, {"whole": True}),
    "save_to_disk with text labels": (saved_text, {}),
    "metadata.csv": (metadata_csv, {}),
    "metadata.jsonl": (metadata_jsonl, {}),
    "CSV": (table_of_files, {"whole": True}),
    "WebDataset": (webdataset, {"classes": DIGITS}),
    "WebDataset with JSON": (webdataset_json, {}),
    "WebDataset with text": (webdataset_text, {}),
}
