"""The recipes of CAFE, NCFM and TGDD: published values, numbers and commands."""

from __future__ import annotations

from typing import Any

import pytest

from dance.core.yaml_file import from_yaml
from dance.engine import build_run
from dance.engine.rules import check
from dance.recipes import RECIPES
from dance.recipes.resolve import resolve

METHODS = ("cafe", "cafe_dsa", "ncfm", "tgdd")
NAMES = [name for name in RECIPES.names() if name.startswith(("cafe-", "ncfm-", "tgdd-"))]
PUBLISHED = """
cafe-fashion-mnist-ipc1 77.1 ± 0.9
cafe-cifar10-ipc10 46.3 ± 0.6
cafe-dsa-cifar10-ipc10 50.9 ± 0.5
cafe-dsa-cifar100-ipc50 42.9 ± 0.2
ncfm-cifar10-ipc10 65.6
ncfm-cifar10-ipc10-paper 68.9
ncfm-cifar10-ipc1 49.5 ± 0.3
ncfm-tiny-imagenet-ipc50 22.0
ncfm-imagenette-ipc10 77.6
tgdd-cifar100-ipc10 51.3
tgdd-imagefruit-ipc10 57.8
"""


def options(name: str) -> Any:
    return RECIPES.get(name).config().options


def test_every_row_is_there() -> None:
    counts = {
        start: sum(name.startswith(f"{start}-") for name in NAMES)
        for start in ("cafe", "cafe-dsa", "ncfm", "tgdd")
    }
    assert counts == {"cafe": 18, "cafe-dsa": 9, "ncfm": 21 + 11, "tgdd": 12}


@pytest.mark.parametrize("line", PUBLISHED.split("\n")[1:-1])
def test_says_the_published_accuracy(line: str) -> None:
    name, number = line.split(" ", 1)
    assert RECIPES.get(name).expect.startswith(f"accuracy {number} %, as published in")


@pytest.mark.parametrize("name", NAMES)
def test_is_whole_and_reads_back_to_itself(name: str) -> None:
    recipe = RECIPES.get(name)
    config = recipe.config()
    check(config)
    assert build_run(from_yaml(recipe.text(), name)) == config
    assert recipe.command == f"dance condense --config {name}"
    assert name.startswith(config.method.replace("_", "-"))


@pytest.mark.parametrize("method", METHODS)
def test_a_bare_command_is_scored_as_dance_and_a_quick_one_is_short(method: str) -> None:
    assert resolve("cifar10", method, 10).evaluation.protocol == "dance-v1"
    quick = resolve("cifar10", method, 10, base="quick")
    steps = 60 if method.startswith("cafe") else 150
    assert (quick.options.iterations, quick.evaluation.protocol) == (steps, "quick-v1")
    assert quick.options.real_batch <= 128
    if method == "tgdd":
        assert (quick.trajectories.count, quick.trajectories.epochs) == (2, 6)


def test_cafe_begins_at_noise_and_its_augmented_form_at_real_images() -> None:
    plain, augmented = (RECIPES.get(f"{m}-cifar10-ipc1").config() for m in ("cafe", "cafe-dsa"))
    assert (plain.init, plain.evaluation.protocol, plain.evaluation.epochs) == (
        "normal",
        "dc-v1",
        601,
    )
    assert (augmented.init, augmented.evaluation.protocol) == ("random", "dsa-v1")
    assert "flip" not in resolve("digits", "cafe_dsa").options.augmentation


def test_ncfm_has_twenty_experts_and_one_exception() -> None:
    for name, epochs in (("cifar10", 60), ("imagewoof", 80)):
        config = RECIPES.get(f"ncfm-{name}-ipc10").config()
        experts = config.experts
        assert (experts.count, experts.epochs, experts.batch_size) == (20, epochs, 128)
        assert (config.factor, config.evaluation.protocol) == (2, "ncfm-v1")
    assert resolve("digits", "ncfm").factor == 1
    rates = {
        name: (options(name).optimiser, options(name).learning_rate)
        for name in NAMES
        if name.startswith("ncfm") and options(name).optimiser != "adamw"
    }
    assert rates == dict.fromkeys(
        ("ncfm-cifar100-ipc10", "ncfm-cifar100-ipc10-paper"), ("sgd", 0.01)
    )
    paper = options("ncfm-cifar10-ipc10-paper")
    assert (paper.sampling, paper.frequencies, paper.real) == ("learned", 1024, "random")


def test_tgdd_trains_dance_s_experts_and_weighs_by_images_per_class() -> None:
    for name, epochs in (("cifar10-ipc50", 60), ("imagenette-ipc10", 80)):
        config = RECIPES.get(f"tgdd-{name}").config()
        kept, experts = config.trajectories, RECIPES.get("dance-cifar10-ipc10").config().experts
        assert (kept.count, kept.epochs) == (5, epochs)
        for same in (
            "momentum",
            "weight_decay",
            "augmentation",
            "cutmix",
            "augmentation_mode",
            "milestones",
        ):
            assert getattr(kept, same) == getattr(experts, same)
    weights = [resolve("cifar10", "tgdd", ipc).options.calibration_weight for ipc in (1, 10, 50)]
    assert weights == [2.5, 2.5, 0.5]
