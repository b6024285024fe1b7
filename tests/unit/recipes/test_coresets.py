"""Recipes of selections: the published cells, and one expert and no more."""

from __future__ import annotations

import pytest

from dance.core.yaml_file import from_yaml
from dance.engine import build_run
from dance.recipes import RECIPES
from dance.recipes.resolve import generic, resolve

METHODS = ("random", "herding", "k-center", "k-means")
NAMES = [name for name in RECIPES.names() if name.startswith(METHODS)]
CELLS = """
random-fashion-mnist-ipc1 51.4 ± 3.8
random-cifar10-ipc50 43.4 ± 1.0
herding-cifar10-ipc10 31.6 ± 0.7
herding-tiny-imagenet-ipc50 16.7 ± 0.3
k-center-cifar10-ipc10 14.7 ± 0.9
k-center-cifar100-ipc1 8.3 ± 0.3
"""


def test_all_published_cells_are_there() -> None:
    """Table 1 has no K-Center for TinyImageNet, and DC-Bench no Fashion-MNIST."""
    assert len(NAMES) == 2 * 12 + 9 + 9
    assert not [name for name in NAMES if name.startswith("k-center-tiny")]


@pytest.mark.parametrize("line", CELLS.split("\n")[1:-1])
def test_says_whose_number_it_is_and_what_made_it(line: str) -> None:
    name, _, number = line.partition(" ")
    expect = RECIPES.get(name).expect
    assert expect.startswith(f"accuracy {number} %, as published in Table 1")
    assert "taken from" in expect
    assert RECIPES.get("k-means-cifar10-ipc10").expect.startswith(
        "accuracy 41.49 % at best and 38.04"
    )


@pytest.mark.parametrize("name", NAMES)
def test_reads_back_to_itself(name: str) -> None:
    recipe = RECIPES.get(name)
    assert build_run(from_yaml(recipe.text(), name)) == recipe.config() == resolve(base=name)
    assert name.endswith(f"ipc{recipe.config().ipc}")
    assert recipe.command == f"dance condense --config {name}"
    protocol = "dsa-v1" if name.startswith("k-means") else "dc-v1"
    assert recipe.config().evaluation.protocol == protocol


@pytest.mark.parametrize("method", ["herding", "k_center", "k_means"])
def test_a_command_trains_one_expert_by_dance_s_recipe_and_scores_as_dance(method: str) -> None:
    config, dance = (resolve("imagenette", method=name, ipc=10) for name in (method, "dance"))
    assert (config.experts.count, config.factor) == (1, 1)
    assert (config.experts.epochs, config.experts.batch_size) == (80, 128)
    assert config.evaluation == dance.evaluation
    quick = resolve("cifar10", method=method, ipc=1, base="quick")
    assert (quick.experts.count, quick.experts.epochs) == (1, 6)
    assert generic("photos", method, 2, 48).method == method
