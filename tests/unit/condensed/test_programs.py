"""Exports for particular programs: what they contain, and which sets they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from dance.condensed import CondensedSet
from dance.condensed.decoders.grid import Grid
from dance.condensed.formats import export
from dance.core.errors import ConfigError
from dance.data.known import KNOWN
from dance.data.normalization import Normalization
from dance.data.whitening import ZCA_STANDARDISED, fit

FIELDS = {
    "dataset", "real_data_path", "ipc", "im_size", "model_name", "data_aug_func", "aug_params",
    "use_zca", "custom_train_trans", "custom_val_trans", "optimizer", "lr_scheduler", "step_size",
    "weight_decay", "momentum", "num_eval", "num_epochs", "syn_batch_size", "real_batch_size",
    "num_workers", "device", "dist", "eval_full_data", "random_data_format", "random_data_path",
    "save_path",
}  # fmt: skip
"""What both evaluators of DD-Ranking read."""


def made(data: str = "cifar10", side: int = 32) -> CondensedSet:
    """Two images of each class, uint8 levels aside, in unit space."""
    known = KNOWN.get(data)
    count = known.count
    constants = known.constants or ((0.5,), (0.25,))
    shape = (2 * count, len(constants[0]), side, side)
    return CondensedSet(
        pixels=torch.rand(shape, generator=torch.Generator().manual_seed(0)),
        labels=torch.arange(count).repeat_interleave(2),
        classes=known.classes or tuple(map(str, range(count))),
        normalization=Normalization(*constants),
        provenance={"dataset": data},
    )


def read(folder: Path) -> tuple[torch.Tensor, torch.Tensor, float, dict[str, object]]:
    images, labels, rate = (
        torch.load(folder / f"{name}.pt", weights_only=True) for name in ("images", "labels", "lr")
    )
    return images, labels, rate, yaml.safe_load((folder / "config.yaml").read_text())


def test_ddranking_has_the_triple_and_its_settings(tmp_path: Path) -> None:
    condensed = made()
    export(condensed, "ddranking", tmp_path / "out")
    images, labels, rate, config = read(tmp_path / "out")
    assert torch.equal(images, condensed.images()) and torch.equal(labels, condensed.labels)
    assert rate == 0.01
    assert config.keys() == {*FIELDS, "use_torchvision", "default_lr"}
    assert (config["dataset"], config["ipc"], config["im_size"]) == ("CIFAR10", 2, [32, 32])
    assert (config["model_name"], config["use_zca"]) == ("ConvNet-3", False)


def test_ddranking_has_logits_of_soft_labels_and_the_learned_rate(tmp_path: Path) -> None:
    soft = torch.rand(20, 10, generator=torch.Generator().manual_seed(1)).softmax(1)
    condensed = replace(made(), soft_labels=soft, learning_rate=0.03)
    export(condensed, "ddranking", tmp_path / "out")
    _, labels, rate, config = read(tmp_path / "out")
    assert torch.allclose(labels.softmax(1), soft, atol=1e-6) and rate == 0.03
    assert config["soft_label_criterion"] == "sce"
    assert config.keys() > FIELDS


def test_ddranking_gets_decoded_images_and_the_stored_number(tmp_path: Path) -> None:
    condensed = replace(made(), decoder=Grid(2))
    export(condensed, "ddranking", tmp_path / "out")
    images, labels, _, config = read(tmp_path / "out")
    assert torch.equal(images, condensed.images()) and len(labels) == 80
    assert config["ipc"] == 2


def test_ddranking_refuses_what_it_would_not_score_as_we_do(tmp_path: Path) -> None:
    grey = made("fashion_mnist", 28)
    own = KNOWN.get("cifar100").own_constants
    assert own is not None
    white = fit((made().pixels[:, :, ::8, ::8] * 255).to(torch.uint8), made().normalization.std)
    small = replace(made(), pixels=made().pixels[:, :, ::8, ::8])
    whitened = Normalization(*(KNOWN.get("cifar10").constants or ((), ())), white)
    assert white.name == ZCA_STANDARDISED
    names = tuple(f"pet {label}" for label in range(10))
    for refused, why in (
        (replace(made(), classes=names), "got a set of other images, with 'pet 0'"),
        (grey, "grey"),
        (made("svhn"), "a set of svhn"),
        (made("imagefruit", 128), "imagefruit_mtt"),
        (small, "32 pixels"),
        (replace(small, normalization=whitened), "32 pixels"),
        (replace(made("cifar100"), normalization=Normalization(*own)), "--statistics shared"),
    ):
        with pytest.raises(ConfigError, match=why):
            export(refused, "ddranking", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_indices_are_the_rows_of_a_selection(tmp_path: Path) -> None:
    rows = torch.tensor([7, 3, 90_000_000_000, *range(17)])
    export(replace(made(), source_rows=rows), "indices", tmp_path / "rows.txt")
    assert [int(line) for line in (tmp_path / "rows.txt").read_text().splitlines()] == rows.tolist()
    with pytest.raises(ConfigError, match="no copies"):
        export(made(), "indices", tmp_path / "other.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.txt"]


def test_idc_refuses_whitened_images(tmp_path: Path) -> None:
    small = replace(made(), pixels=made().pixels[:, :, ::8, ::8])
    white = fit((small.pixels * 255).to(torch.uint8))
    whitened = replace(small, normalization=replace(small.normalization, whitening=white))
    with pytest.raises(ConfigError, match="whitened"):
        export(whitened, "idc", tmp_path / "out.pt")
    assert list(tmp_path.iterdir()) == []
