"""The protocols of other papers: their numbers, and the rate of every epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dance.evaluation import PROTOCOLS

SIX = "color_crop_cutout_flip_scale_rotate"
VALUES = {
    "dc-v1": ("sgd", 256, 0.01, 0.9, 5e-4, 0.0, "none", "", True),
    "dsa-v1": ("sgd", 256, 0.01, 0.9, 5e-4, 0.0, "single", SIX, True),
    "idc-v1": ("sgd", 64, 0.01, 0.9, 5e-4, 0.5, "chain", "color_crop_flip_scale_rotate", False),
    "mtt-v1": ("sgd", 256, 0.01, 0.9, 5e-4, 0.0, "single", SIX, True),
    "datadam-v1": ("sgd", 64, 0.01, 0.9, 5e-4, 0.0, "single", SIX, True),
    "ncfm-v1": ("adamw", 128, 1e-3, 0.9, 0.01, 0.5, "chain", "color_crop_flip_scale_rotate", False),
}  # fmt: skip
"""Optimiser, batch, rate, momentum, decay of weights, CutMix, augmentation, its names, reset."""


def fit(name: str, images: int = 100, classes: int = 10, resolution: int = 32, **more):
    return PROTOCOLS.get(name).schedule(images, classes, resolution, **more)


@pytest.mark.parametrize("name", VALUES)
def test_values(name) -> None:
    found = fit(name)
    assert (
        found.optimiser, found.batch_size, found.learning_rate, found.momentum, found.weight_decay,
        found.cutmix, found.augmentation_mode, found.augmentation, found.reset_momentum,
    ) == VALUES[name]  # fmt: skip
    assert PROTOCOLS.get(name).name == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("dc-v1", [(152, 0.01), (149, 0.001)]),
        ("dsa-v1", [(502, 0.01), (499, 0.001)]),
        ("mtt-v1", [(502, 0.01), (499, 0.001)]),
        ("datadam-v1", [(902, 0.01), (899, 0.001)]),
        ("idc-v1", [(666, 0.01), (167, 0.002), (167, 0.0004)]),
        ("ncfm-v1", [(400, 1e-3), (400, 5e-4), (400, 2.5e-4), (400, 1.25e-4), (400, 6.25e-5)]),
        ("dance-v1", [(1000, 0.01), (250, 0.002), (250, 0.0004)]),
    ],
)
def test_the_rate_of_every_epoch(name, parts) -> None:
    found = fit(name)
    assert found.epochs == sum(count for count, _ in parts)
    expected = [rate for count, rate in parts for _ in range(count)]
    assert [found.rate(epoch) for epoch in range(found.epochs)] == pytest.approx(expected)
    starts = [sum(count for count, _ in parts[:place]) for place in range(1, len(parts))]
    assert found.milestone_epochs() == starts, "where the momentum is lost, if it is"


@pytest.mark.parametrize("nominal", [10, 20, 100, 300, 1000, 1800])
def test_the_rule_of_the_authors(nominal) -> None:
    """E+1 epochs; the rate falls after the epoch with index E//2+1."""
    found = replace(fit("dc-v1"), epochs=nominal + 1)
    rates = [0.01]
    for epoch in range(nominal):
        rates.append(rates[-1] * 0.1 if epoch == nominal // 2 + 1 else rates[-1])
    assert [found.rate(epoch) for epoch in range(nominal + 1)] == pytest.approx(rates)


def test_networks_and_tests() -> None:
    named = {name: PROTOCOLS.get(name) for name in VALUES}
    assert {
        name: (own.networks(32), own.test_epochs(fit(name).epochs, 32))
        for name, own in named.items()
    } == {
        "dc-v1": (20, [301]),
        "dsa-v1": (20, [1001]),
        "idc-v1": (3, [250, 500, 750, 1000]),
        "mtt-v1": (5, [1001]),
        "datadam-v1": (10, [1801]),
        "ncfm-v1": (10, list(range(100, 2001, 100))),
    }
    assert PROTOCOLS.get("idc-v1").test_epochs(2000, 128) == [500, 1000, 1500, 2000]


def test_norms() -> None:
    named = {name: PROTOCOLS.get(name).norm for name in ("dc-v1", "datadam-v1", "dance-v1")}
    assert named == {"dc-v1": "instance", "datadam-v1": "batch", "dance-v1": None}


def test_the_learned_rate_is_taken_up_where_the_protocol_says_so() -> None:
    assert fit("mtt-v1", learning_rate=0.03).learning_rate == 0.03
    assert fit("mtt-v1", learning_rate=0.03).rate(1000) == pytest.approx(0.003)
    assert fit("dsa-v1", learning_rate=0.03).learning_rate == 0.01
    assert [name for name in VALUES if PROTOCOLS.get(name).learned_rate] == ["mtt-v1"]


@pytest.mark.parametrize("name", ["dsa-v1", "mtt-v1", "datadam-v1", "idc-v1"])
def test_digits_are_not_mirrored(name) -> None:
    for dataset in ("mnist", "svhn", "digits"):
        assert "flip" not in fit(name, dataset=dataset).augmentation
    mirrored = fit(name, dataset="cifar10").augmentation
    assert mirrored == VALUES[name][7]
    assert set(mirrored.split("_")) - set(fit(name, dataset="svhn").augmentation.split("_")) == {
        "flip"
    }


@pytest.mark.parametrize(("ipc", "epochs"), [(1, 2000), (10, 300), (50, 40)])
def test_ncfm_is_shorter_on_tiny_imagenet(ipc, epochs) -> None:
    images = 200 * ipc * 4
    assert fit("ncfm-v1", images, 200, 64, dataset="tiny_imagenet").epochs == epochs
    assert fit("ncfm-v1", images, 200, 64, dataset="photos").epochs == 2000


@pytest.mark.parametrize(("ipc", "factor", "epochs"), [(1, 3, 2000), (10, 3, 1000), (20, 1, 1500)])
def test_idc_by_decoded_images(ipc, factor, epochs) -> None:
    assert fit("idc-v1", 10 * ipc * factor**2, 10, 224).epochs == epochs
