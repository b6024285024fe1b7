"""IDC and DREAM against literal loops in float64."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch

from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator
from dance.methods import CondensationTask
from dance.methods.base import InnerNetworkState
from dance.methods.dream import DREAM
from dance.methods.idc import IDC
from dance.methods.toolkit.clustering import representatives
from dance.networks import NetworkConfig
from unit.methods import literal_gradient as literal
from unit.methods.tasks import image_set, task

BATCH_NORM = NetworkConfig(width=6, depth=2, norm="batch")
# Steps so large that pixels leave [0,1], and networks that are soon renewed and trained fast.
FAST: dict[str, Any] = {
    "network_steps": 3,
    "learning_rate": 1.0,
    "reference_resolution": 8,
    "real_batch": 5,
    "network_images": 12,
    "network_batch": 6,
    "network_learning_rate": 0.05,
}


def run(
    method: IDC, given: CondensationTask, iterations: int
) -> tuple[InnerNetworkState, list[float]]:
    made = method.start(given)
    losses = [float(made.step(i)["matching"]) for i in range(iterations)]
    return made.state, losses


def check(
    given: CondensationTask, iterations: int = 7, kind: type[IDC] = IDC, **options: Any
) -> InnerNetworkState:
    """The library's run is the literal one."""
    config = kind.Config(**{**FAST, **options})
    start = kind(config).start(given).state.pixels
    expected, losses, clamped = literal.condense_idc(given, config, iterations, start)
    assert clamped > 0  # else the place of the clamp would not be tested
    state, found = run(kind(config), given, iterations)
    assert found == pytest.approx(losses, rel=1e-9)
    torch.testing.assert_close(state.pixels, expected, rtol=1e-9, atol=1e-9)
    moved = (expected - given.initial).abs()
    assert moved.flatten(1).amax(1).min() > 1e-3  # every stored image
    return state


@pytest.mark.parametrize(("ipc", "factor"), [(1, 1), (2, 1), (2, 2)])
def test_published_dynamics(ipc: int, factor: int) -> None:
    check(task(ipc, factor))


@pytest.mark.parametrize(
    "options",
    [
        {"distance": "l1", "learning_rate": 0.02},
        {"momentum": 0.0},
        {"momentum": 0.9, "learning_rate": 0.2},
        {"reference_resolution": 16, "learning_rate": 4.0},
        {"warmup_epochs": 1},
        {"network_images": 1000},  # more than there are: one pass
        {"cutmix": 1.0},
        {"augmentation": "", "network_augmentation": ""},
        {"synthetic_cap": 3},
        {"decoding": "multi"},
        {"decoding": "multi", "synthetic_cap": 6},
        {"decoding": "bound", "synthetic_cap": 6},
        {"real_batch": 0},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_options(options: dict[str, Any]) -> None:
    check(task(2, 2), 4, **options)


def test_batch_norm_runs_in_training_mode_and_matching_leaves_it_alone() -> None:
    given = task(2, 1, network=BATCH_NORM)
    check(given)
    made = IDC(IDC.Config(**{**FAST, "network_learning_rate": 1e-9})).start(given)
    made.inner.renew(keyed_generator(0, "x"))
    before = made.state.network_buffers.clone()
    made.match(made.inner.state(copy_buffers=True), made._augmentation.draw(1), 1)
    assert torch.equal(made.state.network_buffers, before)


def test_grey_pictures_and_a_side_that_the_factor_does_not_divide() -> None:
    train = image_set((6, 6, 9, 7), channels=1, resolution=10)
    check(task(1, 3, train=train, network=NetworkConfig(width=6, depth=1)), 4)


def test_more_images_of_a_class_than_go_through_one_forward() -> None:
    train = image_set((80, 70), resolution=4)
    given = task(18, 2, train=train, network=NetworkConfig(width=4, depth=1))
    check(given, 4, real_batch=0, learning_rate=0.3, synthetic_cap=70, network_batch=50)


def test_float32_with_the_kernels_is_close_to_float64() -> None:
    network = NetworkConfig(width=16, depth=2)
    options = {**FAST, "learning_rate": 0.05}
    exact, losses = run(IDC(IDC.Config(**options)), task(2, 2, network=network), 4)
    given = task(2, 2, network=network, dtype=torch.float32)
    single, found = run(IDC(IDC.Config(**options)), given, 4)
    assert single.pixels.dtype == torch.float32
    torch.testing.assert_close(single.pixels.double(), exact.pixels, rtol=0, atol=1e-3)
    assert found == pytest.approx(losses, rel=1e-3)


def test_the_step_grows_with_images_per_class_and_area() -> None:
    """Two equal stored images halve each other's gradient and move as one alone does."""
    one = task(1, 1)
    two = dataclasses.replace(one, ipc=2, initial=one.initial.repeat_interleave(2, 0))
    options = {**FAST, "learning_rate": 0.1}
    alone, _ = run(IDC(IDC.Config(**options)), one, 3)
    pair, _ = run(IDC(IDC.Config(**options)), two, 3)
    torch.testing.assert_close(pair.pixels, alone.pixels.repeat_interleave(2, 0))
    half = {**options, "reference_resolution": 16, "learning_rate": 0.4}
    again, _ = run(IDC(IDC.Config(**half)), one, 3)
    torch.testing.assert_close(again.pixels, alone.pixels)


@pytest.mark.parametrize("name", ["network_steps", "network_images", "network_batch"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least 1: got 0"):
        IDC.Config(**{name: 0})


def test_an_unknown_operation_of_the_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'color'"):
        IDC.Config(network_augmentation="colour")


def test_defaults_are_the_published_settings() -> None:
    idc = {
        "iterations": 200_000,
        "network_steps": 100,
        "learning_rate": 5e-4,
        "reference_resolution": 32,
        "momentum": 0.5,
        "distance": "mse",
        "real_batch": 64,
        "synthetic_cap": 128,
        "augmentation": "color_crop_cutout",
        "decoding": "single",
        "network_images": 2000,
        "network_batch": 64,
        "network_learning_rate": 0.01,
        "network_momentum": 0.9,
        "network_weight_decay": 5e-4,
        "network_augmentation": "color_crop",
        "cutmix": 0.5,
        "warmup_epochs": 0,
    }
    assert dataclasses.asdict(IDC.Config()) == idc
    dream = {
        **idc,
        "real_batch": 128,
        "network_batch": 128,
        "clustering_interval": 10,
        "start": "k_means",
    }
    assert dataclasses.asdict(DREAM.Config()) == dream


class TestDream:
    @pytest.mark.parametrize("start", ["given", "k_means"])
    def test_published_dynamics(self, start: str) -> None:
        """Classes of 7, 12 and 4 images in 5 clusters; one has fewer images than that."""
        # Three steps a network, and clusters last for two of them.
        check(task(2, 2), 7, DREAM, clustering_interval=2, start=start)
        check(task(1, 1, network=BATCH_NORM), 4, DREAM, start=start)

    def test_representatives_last_for_their_interval(self) -> None:
        given = task(1, 1, train=image_set((30, 40, 25)))
        options = {**FAST, "network_steps": 4, "clustering_interval": 3}
        method = DREAM(DREAM.Config(**options))
        made = method.start(given)
        seen = []
        for iteration in range(6):
            made.step(iteration)
            seen.append(made.state.representatives.clone())
        changed = [not torch.equal(a, b) for a, b in itertools.pairwise(seen)]
        assert changed == [False, False, True, True, False]  # inner steps 1, 2, 3, 0, 1
        for c, rows in enumerate(seen[0].split(5)):
            assert set(given.train.labels[rows].tolist()) == {c}

    def test_synthetic_begin_at_representatives_of_an_untrained_network(self) -> None:
        given = task(2, 2, train=image_set((30, 40, 25)))
        pixels = DREAM(DREAM.Config(**FAST)).start(given).state.pixels
        fresh = given.network.initial(keyed_generator(given.seed, "start network"))
        state = {n: t.double() for n, t in fresh.items()}
        for c in range(3):
            rows = given.train.rows(c)
            images = given.train.images[rows].double() / 255
            generator = keyed_generator(given.seed, "start clusters", c)
            chosen = images[representatives(literal.embedded(state, images), 8, generator)]
            for stored_image in range(2):
                for cell in range(4):
                    top, left = cell // 2 * 4, cell % 2 * 4
                    shown = pixels[2 * c + stored_image, :, top : top + 4, left : left + 4]
                    expected = chosen[cell * 2 + stored_image][:, ::2, ::2]
                    torch.testing.assert_close(shown, expected, rtol=1e-6, atol=1e-7)

    def test_an_interval_below_one_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="clustering_interval must be at least 1: got 0"):
            DREAM.Config(clustering_interval=0)
        with pytest.raises(ConfigError, match="network_steps must be at least 1: got 0"):
            DREAM.Config(network_steps=0)

    def test_more_cells_than_images_show_some_twice(self) -> None:
        given = task(2, 2)  # 8 cells a class, and one class of four images
        pixels = DREAM(DREAM.Config(**FAST)).start(given).state.pixels
        assert bool(pixels.isfinite().all())
        cells = pixels[4:].unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)
        distinct = {
            tuple(cell.flatten().tolist()) for row in cells for line in row for cell in line
        }
        assert len(distinct) == 4
