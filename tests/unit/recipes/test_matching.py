"""The recipes of DM, DataDAM, M3D and IDM: published values, numbers and commands."""

from __future__ import annotations

from typing import Any

import pytest

from dance.core.yaml_file import from_yaml
from dance.engine import build_run
from dance.engine.rules import check
from dance.recipes import RECIPES
from dance.recipes.resolve import resolve

METHODS = ("dm", "datadam", "m3d", "idm")
NAMES = [name for name in RECIPES.names() if name.split("-")[0] in METHODS]
PUBLISHED = """
dm-fashion-mnist-ipc10 83.5 ± 0.3
dm-cifar10-ipc1 26.0 ± 0.8
dm-cifar10-ipc50 63.0 ± 0.4
dm-tiny-imagenet-ipc10 12.9 ± 0.4
dm-imagewoof-ipc1 21.1 ± 1.2
datadam-cifar10-ipc10 54.2 ± 0.8
datadam-cifar100-ipc50 49.4 ± 0.3
datadam-imagesquawk-ipc10 55.4 ± 0.9
m3d-cifar10-ipc50 69.9
idm-cifar10-ipc10 58.6 ± 0.1
idm-cifar100-ipc1 20.1 ± 0.3
idm-tiny-imagenet-ipc50 27.7 ± 0.3
"""


def options(name: str) -> Any:
    return RECIPES.get(name).config().options


def test_every_table_row_is_there() -> None:
    counts = {method: sum(name.startswith(f"{method}-") for name in NAMES) for method in METHODS}
    assert counts == {"dm": 18, "datadam": 3 * 15, "m3d": 6, "idm": 9}


@pytest.mark.parametrize("line", PUBLISHED.split("\n")[1:-1])
def test_says_the_published_accuracy(line: str) -> None:
    name, number = line.split(" ", 1)
    assert f"accuracy {number} %, as published" in RECIPES.get(name).expect


@pytest.mark.parametrize("name", NAMES)
def test_is_whole_and_reads_back_to_itself(name: str) -> None:
    recipe = RECIPES.get(name)
    config = recipe.config()
    check(config)
    assert build_run(from_yaml(recipe.text(), name)) == config
    assert recipe.command == f"dance condense --config {name}"
    assert config.method == name.split("-")[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_bare_command_takes_the_same_settings_under_the_common_protocol(method: str) -> None:
    for data in ("cifar10", "cifar100"):
        bare = resolve(data, method, 10)
        recipe = RECIPES.get(f"{method}-{data}-ipc10").config()
        assert bare.options == recipe.options
        assert (bare.factor, bare.init, bare.network) == (
            recipe.factor,
            recipe.init,
            recipe.network,
        )
        assert bare.evaluation.protocol == "dance-v1"
        assert "whole" not in bare.evaluation.baselines


def test_dm_takes_larger_steps_for_large_sets_of_cifar10_only() -> None:
    rates = [resolve("cifar10", "dm", ipc).options.learning_rate for ipc in (1, 50, 100, 1250)]
    assert rates == [1.0, 1.0, 10.0, 10.0]
    assert resolve("cifar100", "dm", 100).options.learning_rate == 1.0


@pytest.mark.parametrize("method", ["dm", "datadam", "idm"])
def test_digits_are_not_mirrored(method: str) -> None:
    assert "flip" not in resolve("digits", method, 1).options.augmentation
    assert "flip" in resolve("cifar10", method, 1).options.augmentation


def test_datadam_in_three_readings() -> None:
    code = RECIPES.get("datadam-cifar10-ipc10-code").config()
    paper = RECIPES.get("datadam-cifar10-ipc10-paper").config()
    assert (code.network.norm, code.options.power, code.options.iterations) == ("batch", 1, 20_000)
    assert (paper.network.norm, paper.options.power) == ("instance", 4)
    assert paper.options.iterations == 8000
    published = RECIPES.get("datadam-cifar10-ipc10").config()
    assert (published.whitening, code.whitening, paper.whitening) == (
        "zca_standardised",
        "none",
        "none",
    )
    assert published.options == code.options
    assert RECIPES.get("datadam-tiny-imagenet-ipc1").config().whitening == "none"
    assert code.evaluation.protocol == "datadam-v1"
    assert options("datadam-imagenette-ipc1").balance == 0.02
    assert resolve("cifar10", "datadam", 100).options.learning_rate == 10.0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("idm-cifar10-ipc1", (0.5, 0, 5, 10, 100)),
        ("idm-cifar10-ipc10", (0.5, 256, 30, 10, 100)),
        ("idm-cifar10-ipc50", (0.1, 256, 30, 10, 500)),
        ("idm-cifar100-ipc10", (0.1, 256, 30, 50, 100)),
        ("idm-cifar100-ipc50", (0.1, 256, 30, 40, 500)),
        ("idm-tiny-imagenet-ipc50", (0.8, 256, 30, 50, 1000)),
    ],
)
def test_idm_runs_its_command_list(name: str, values: tuple[Any, ...]) -> None:
    config = RECIPES.get(name).config()
    o = config.options
    found = (o.ce_weight, o.real_batch, o.push_interval, o.model_steps, o.meter_interval)
    assert found == values
    assert (config.factor, config.init, o.queue) == (2, "collage", 100)
    assert config.network.depth == (3 if "tiny" in name else None)


def test_idm_for_sets_that_it_does_not_know() -> None:
    near = {ipc: resolve("fashion_mnist", "idm", ipc).options.ce_weight for ipc in (1, 20, 49)}
    assert near == {1: 0.5, 20: 0.5, 49: 0.1}
    assert resolve("imagenette", "idm", 1).options.queue == 50
    assert resolve("digits", "idm", 1).factor == 1
