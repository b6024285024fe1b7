"""MTT's settings by data and images per class, and whose numbers its recipes print."""

from __future__ import annotations

import pytest

from dance.core.errors import ConfigError
from dance.core.yaml_file import from_yaml
from dance.engine import build_run
from dance.engine.rules import check
from dance.recipes import RECIPES
from dance.recipes.resolve import resolve

NAMES = [name for name in RECIPES.names() if name.startswith("mtt-")]
TABLE = """
cifar10 1 50 2 2 none zca 100 1e-7 0.01
cifar10 10 30 2 20 none zca 100 1e-5 0.001
cifar10 50 30 2 40 none none 1000 1e-5 0.001
cifar100 1 20 3 20 none zca 1000 1e-5 0.01
cifar100 10 20 2 20 none none 1000 1e-5 0.01
cifar100 50 80 2 40 125 zca 1000 1e-5 0.01
svhn 1 50 2 5 none none 1000 1e-7 0.01
svhn 10 30 2 15 none none 1000 1e-5 0.01
tiny_imagenet 1 10 2 10 none none 10000 1e-4 0.01
tiny_imagenet 10 20 2 40 200 none 10000 1e-4 0.01
tiny_imagenet 50 20 2 40 300 none 10000 1e-4 0.01
imagenette 1 20 2 10 none none 1000 1e-6 0.01
imagenette 10 20 2 10 20 none 1000 1e-6 0.01
"""


@pytest.mark.parametrize("line", TABLE.split("\n")[1:-1])
def test_a_command_has_the_published_settings(line: str) -> None:
    data, ipc, steps, epochs, starts, batch, white, pixels, rate, size = line.split()
    config = resolve(data, method="mtt", ipc=int(ipc))
    options = config.options
    assert config.whitening == white
    assert (options.student_steps, options.expert_epochs) == (int(steps), int(epochs))
    assert options.start_epochs == int(starts)
    assert options.student_batch == (None if batch == "none" else int(batch))
    assert (options.learning_rate, options.momentum) == (float(pixels), 0.5)
    assert (options.step_size_learning_rate, options.step_size) == (float(rate), float(size))
    assert (options.iterations, config.init, config.factor) == (5000, "random", 1)
    assert (config.trajectories.count, config.trajectories.epochs) == (100, 50)
    assert (config.trajectories.batch_size, config.trajectories.learning_rate) == (256, 0.01)
    assert config.evaluation.protocol == "mtt-v1"


@pytest.mark.parametrize("name", NAMES)
def test_is_whole_and_reads_back_to_itself(name: str) -> None:
    recipe = RECIPES.get(name)
    check(recipe.config())
    assert build_run(from_yaml(recipe.text(), name)) == recipe.config()


def test_says_whose_number_it_is() -> None:
    assert len(NAMES) == 9 + 12
    expect = RECIPES.get("mtt-cifar10-ipc1").expect
    assert expect.startswith("accuracy 46.3 %, as published in MTT's own table")
    assert "DANCE's Table 1 has means over augmentations" in expect
    assert "accuracy 39.4 ± 1.5 %" in RECIPES.get("mtt-imagesquawk-ipc1").expect


def test_other_sets_and_numbers_take_the_nearest_row_below() -> None:
    assert resolve("cifar10", method="mtt", ipc=20).whitening == "zca"
    assert resolve("imagenette", method="mtt", ipc=50).options.student_batch == 20
    digits = resolve("digits", method="mtt", ipc=3)
    assert "flip" not in digits.options.augmentation + digits.trajectories.augmentation


def test_a_quick_run_has_trajectories_long_enough() -> None:
    for data in ("cifar10", "digits"):
        config = resolve(data, method="mtt", ipc=1, base="quick")
        assert (config.trajectories.count, config.trajectories.epochs) == (2, 5)
        assert config.options.iterations <= 200


def test_trajectories_that_are_too_short_are_refused_before_any_work() -> None:
    short = {"trajectories": {"epochs": 20}}
    with pytest.raises(ConfigError, match=r"trajectories\.epochs must be at least 21"):
        resolve("cifar100", method="mtt", ipc=10, overrides=short)
