"""The frozen numbers of the protocols."""

from __future__ import annotations

import math

import pytest

from dance.core.config import build
from dance.core.errors import ConfigError
from dance.evaluation import PROTOCOLS, EvaluationConfig

DANCE, QUICK = PROTOCOLS.get("dance-v1"), PROTOCOLS.get("quick-v1")


@pytest.mark.parametrize("protocol", [DANCE, QUICK])
def test_training_is_that_of_the_released_settings(protocol) -> None:
    fit = protocol.schedule(100, 10, 32)
    assert (fit.batch_size, fit.learning_rate, fit.momentum) == (64, 0.01, 0.9)
    assert (fit.weight_decay, fit.gamma, fit.cutmix) == (5e-4, 0.2, 0.5)
    assert set(fit.augmentation.split("_")) == {"color", "crop", "flip", "scale", "rotate"}


@pytest.mark.parametrize("resolution", [8, 28, 32, 64])
@pytest.mark.parametrize("per_class", [1, 4, 40, 200, 5000])
def test_small_images_are_trained_on_for_1500_epochs(resolution, per_class) -> None:
    assert DANCE.schedule(10 * per_class, 10, resolution).epochs == 1500


@pytest.mark.parametrize(
    ("ipc", "factor", "epochs"),
    [
        (1, 1, 3000), (1, 3, 2000), (10, 1, 2000), (10, 3, 1000), (50, 1, 1500), (50, 3, 500),
        (2, 1, 2000), (11, 1, 1500), (51, 1, 1000), (200, 1, 1000), (201, 1, 500), (500, 1, 500),
        (501, 1, 300), (1300, 1, 300),
    ],
)  # fmt: skip
def test_large_images_by_decoded_images_per_class(ipc, factor, epochs) -> None:
    for resolution in (128, 224):
        assert DANCE.schedule(10 * ipc * factor**2, 10, resolution).epochs == epochs


@pytest.mark.parametrize("protocol", [DANCE, QUICK], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("dataset", ["mnist", "svhn", "digits"])
def test_digits_are_not_mirrored(protocol, dataset) -> None:
    """The released settings do not mirror MNIST and SVHN; scikit-learn's digits follow them."""
    fit = protocol.schedule(100, 10, 28, dataset)
    assert fit.augmentation == "color_crop_scale_rotate"
    for other in ("cifar10", "fashion_mnist", "photos"):
        assert protocol.schedule(100, 10, 32, other).augmentation == protocol.training.augmentation


def test_steps_of_the_sheet() -> None:
    """SGD steps of one network: CIFAR-10 at ipc 1, 10, 50, and a subset of ImageNet at 1, 10."""
    for resolution, images, steps in (
        (32, 40, 1_500),
        (32, 400, 10_500),
        (32, 2000, 48_000),
        (128, 90, 4_000),
        (128, 900, 15_000),
    ):
        fit = DANCE.schedule(images, 10, resolution)
        assert fit.epochs * math.ceil(images / fit.batch_size) == steps


@pytest.mark.parametrize("resolution", [8, 32, 128])
@pytest.mark.parametrize("images", [1, 10, 64, 65, 400, 2000, 64_000, 100_000])
def test_quick_takes_500_steps_whatever_the_size(resolution, images) -> None:
    fit = QUICK.schedule(images, 10, resolution)
    each = math.ceil(images / 64)
    assert (fit.epochs - 1) * each < 500 <= fit.epochs * each
    assert fit.rate(0) == 0.01


def test_networks() -> None:
    assert [DANCE.networks(resolution) for resolution in (28, 32, 64, 128, 224)] == [
        10,
        10,
        10,
        3,
        3,
    ]


@pytest.mark.parametrize(
    ("epochs", "resolution", "expected"),
    [
        (1500, 32, [250, 500, 750, 1000, 1250, 1500]),
        (2000, 128, [500, 1000, 1500, 2000]),
        (300, 128, [300]),
        (600, 32, [250, 500, 600]),
        (1, 32, [1]),
    ],
)
def test_tested_epochs(epochs, resolution, expected) -> None:
    assert DANCE.test_epochs(epochs, resolution) == expected


def test_bad_numbers_are_refused() -> None:
    for bad in ({"repeats": 0}, {"epochs": 0}, {"epochs": -3}):
        with pytest.raises(ConfigError, match=f"evaluation.{next(iter(bad))} must be from 1 to"):
            build(EvaluationConfig, bad, "evaluation")
    with pytest.raises(ConfigError, match="dance-v1"):
        PROTOCOLS.get("dance-v2")
