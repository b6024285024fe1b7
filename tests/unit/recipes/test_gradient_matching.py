"""The recipes of DC, DSA, IDC and DREAM: published values, numbers and commands."""

from __future__ import annotations

from typing import Any

import pytest

from dance.core.yaml_file import from_yaml
from dance.engine import build_run
from dance.engine.rules import check
from dance.recipes import RECIPES
from dance.recipes.resolve import resolve

METHODS = ("dc", "dsa", "idc", "dream")
NAMES = [name for name in RECIPES.names() if name.split("-")[0] in METHODS]
PUBLISHED = """
dc-fashion-mnist-ipc10 82.3 ± 0.4
dc-cifar10-ipc1 28.3 ± 0.5
dc-cifar100-ipc10 25.2 ± 0.3
dc-tiny-imagenet-ipc50 12.7 ± 0.4
dsa-cifar10-ipc10 52.1 ± 0.5
dsa-cifar100-ipc50 42.8 ± 0.4
idc-cifar10-ipc10 67.5 ± 0.5
idc-cifar100-ipc10 45.1 ± 0.4
idc-i-cifar10-ipc50 69.5
idc-i-cifar100-ipc20 41.5
dream-fashion-mnist-ipc50 86.8 ± 0.3
dream-tiny-imagenet-ipc1 10.0 ± 0.4
"""


def options(name: str) -> Any:
    return RECIPES.get(name).config().options


def test_every_table_row_is_there() -> None:
    counts = {method: sum(name.startswith(f"{method}-") for name in NAMES) for method in METHODS}
    assert counts == {"dc": 11, "dsa": 12, "idc": 7 + 8, "dream": 11}


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
    bare = resolve("cifar10", method, 10)
    recipe = RECIPES.get(f"{method}-cifar10-ipc10").config()
    assert bare.options == recipe.options
    assert (bare.factor, bare.init, bare.network) == (recipe.factor, recipe.init, recipe.network)
    assert bare.evaluation.protocol == "dance-v1"
    assert "whole" not in bare.evaluation.baselines


def test_dc_has_1000_networks_however_many_images() -> None:
    for method in ("dc", "dsa"):
        found = {ipc: resolve("cifar10", method, ipc).options.iterations for ipc in (1, 7, 50, 80)}
        assert found == {1: 1000, 7: 7000, 50: 50_000, 80: 50_000}
    assert resolve("cifar10", "dc", 1).init == "normal"
    assert resolve("cifar10", "dsa", 1).init == "random"
    assert RECIPES.get("dc-cifar10-ipc1").config().evaluation.protocol == "dc-v1"
    assert RECIPES.get("dsa-cifar10-ipc1").config().evaluation.protocol == "dsa-v1"


def test_digits_are_not_mirrored() -> None:
    assert "flip" not in resolve("mnist", "dsa", 1).options.augmentation
    assert "flip" in resolve("cifar10", "dsa", 1).options.augmentation


@pytest.mark.parametrize(
    ("method", "data", "resolution", "steps"),  # the steps at 1, 10 and 50 images per class
    [
        ("idc", "cifar100", 32, (5e-4, 5e-3, 2.5e-2)),
        ("idc", "svhn", 32, (5e-4, 5e-3, 2.5e-2)),
        ("idc", "mnist", 28, (1e-5, 1e-4, 5e-4)),
        ("idc", "fashion_mnist", 28, (7.656e-6, 7.656e-5, 3.828e-4)),
        ("idc", "/own", 224, (3e-4, 3e-3, 1.5e-2)),
        ("dream", "cifar10", 32, (5e-4, 5e-3, 2.5e-2)),
        ("dream", "mnist", 28, (1e-5, 1e-4, 5e-4)),
        ("dream", "fashion_mnist", 28, (7.656e-6, 7.656e-5, 3.828e-4)),
        ("dream", "tiny_imagenet", 64, (2e-3, 2e-2, 2e-5)),
    ],
)
def test_the_steps_are_the_published_ones(
    method: str, data: str, resolution: int, steps: tuple[float, ...]
) -> None:
    for ipc, step in zip((1, 10, 50), steps, strict=True):
        own = resolve(data, method, ipc, overrides={"source": {"size": resolution}}).options
        area = (resolution / own.reference_resolution) ** 2
        assert own.learning_rate * ipc * area == pytest.approx(step, rel=1e-3)


def test_the_other_values_of_idc_are_the_published_ones() -> None:
    assert options("idc-cifar10-ipc10").distance == "mse"
    fashion = options("idc-fashion-mnist-ipc1")
    assert (fashion.distance, fashion.network_images, fashion.cutmix) == ("l1", 500, 0.5)
    mnist = resolve("mnist", "idc", 1).options
    assert (mnist.augmentation, mnist.cutmix) == ("color_crop", 0.0)
    large = resolve("/own", "idc", 10, overrides={"source": {"size": 224}})
    assert (large.factor, large.network.name, large.options.decoding) == (
        3,
        "resnet_ap10",
        "single",
    )
    assert (large.options.iterations, large.options.warmup_epochs) == (50_000, 10)
    many = resolve("/own", "idc", 20, overrides={"source": {"size": 224}})
    assert many.options.decoding == "bound"
    assert {RECIPES.get(name).config().factor for name in NAMES if name.startswith("idc-i")} == {1}
    assert RECIPES.get("idc-cifar10-ipc1").config().factor == 2
    assert RECIPES.get("idc-cifar10-ipc1").config().evaluation.protocol == "idc-v1"


def test_dream_clusters_as_many_as_it_matches() -> None:
    assert options("dream-cifar10-ipc10").real_batch == 128
    tiny = options("dream-tiny-imagenet-ipc1")
    assert (tiny.real_batch, tiny.network_batch, tiny.network_images) == (64, 64, 1000)
