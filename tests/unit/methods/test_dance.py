"""DANCE against the same algorithm written as a literal loop over classes in float64."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dance.core.errors import MissingExpertsError
from dance.methods import CondensationTask
from dance.methods.dance import DANCE, DANCEConfig
from dance.networks import NetworkConfig
from unit.methods import literal
from unit.methods.tasks import image_set, task

BATCH_NORM = NetworkConfig(width=6, depth=2, norm="batch")
# Steps so large that many pixels leave [0,1] within a few iterations.
FAST: dict[str, Any] = {"learning_rate": 0.3, "real_batch": 5}


def run(
    given: CondensationTask, iterations: int, **options: Any
) -> tuple[torch.Tensor, list[dict[str, float]]]:
    method = DANCE(DANCEConfig(**options))
    made = method.start(given)
    losses = [made.step(iteration) for iteration in range(iterations)]
    return made.state.pixels, [{name: float(x) for name, x in row.items()} for row in losses]


def check(
    given: CondensationTask, iterations: int = 6, norm: str = "instance", **options: Any
) -> None:
    """The library's run is the literal one."""
    expected = literal.condense(given, DANCEConfig(**options), iterations, norm)
    assert expected.clamped > 0  # else the place of the clamp would not be tested
    assert len(expected.experts) == len(given.experts)  # else their choice would not
    moved = (expected.pixels - given.initial).abs()
    assert moved.flatten(1).amax(1).min() > 1e-3  # every stored image
    pixels, losses = run(given, iterations, **options)
    torch.testing.assert_close(pixels, expected.pixels, rtol=1e-9, atol=1e-10)
    for found, wanted in zip(losses, expected.losses, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("ipc", [1, 2])
def test_published_dynamics(ipc: int, factor: int) -> None:
    """Classes of 7, 12 and 4 images in batches of 5: one is smaller, one drops its last batch."""
    check(task(ipc, factor), **FAST)


@pytest.mark.parametrize(
    "options",
    [
        {"calibration_interval": 2},
        {"calibration": False},
        {"calibration_mean": "set"},
        {"calibration_weight": 2.0},
        {"calibration_weight": 0.5, "calibration_mean": "set"},
        {"encoder": "random"},
        {"encoder": "fixed_random"},
        {"encoder": "fixed_random", "calibration": False},
        {"steps": "joint"},
        {"steps": "joint", "calibration_mean": "set", "momentum": 0.0},
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"real_batch": 0},
        {"real_batch": 1},
        {"augmentation": ""},
        {"augmentation": "color"},
        {"augmentation": "", "real_batch": 0, "steps": "joint", "calibration_mean": "set"},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_options(options: dict[str, Any]) -> None:
    check(task(2, 2), **{**FAST, **options})


@pytest.mark.parametrize("cap", [1, 3, 7])
def test_synthetic_cap_keeps_some_pictures_of_each_class(cap: int) -> None:
    check(task(2, 2), synthetic_cap=cap, **FAST)


def test_cap_that_is_not_exceeded_changes_nothing() -> None:
    given = task(2, 2)
    free, _ = run(given, 2, synthetic_cap=1000, **FAST)
    full, _ = run(given, 2, synthetic_cap=8, **FAST)
    assert torch.equal(free, full)


def test_grey_pictures_and_a_side_that_the_factor_does_not_divide() -> None:
    train = image_set((6, 6, 9, 7), channels=1, resolution=10)
    # 1 block only: a deeper grey network pads, which the literal one does not write out.
    check(task(1, 3, train=train, network=NetworkConfig(width=6, depth=1)), **FAST)


def test_more_real_images_than_go_through_one_forward() -> None:
    """The parts of the real images end inside classes, not between them."""
    train = image_set((50, 33, 61), resolution=4)
    check(
        task(1, 2, train=train, network=NetworkConfig(width=4, depth=1), chunk=3),
        learning_rate=0.3,
        real_batch=40,
    )


@pytest.mark.parametrize("encoder", ["mid", "random"])
def test_batch_norm_uses_the_statistics_of_the_state(encoder: str) -> None:
    check(task(2, 2, network=BATCH_NORM), norm="batch", encoder=encoder, **FAST)


@pytest.mark.parametrize("network", [NetworkConfig(width=6, depth=2), BATCH_NORM])
def test_chunks_do_not_matter(network: NetworkConfig) -> None:
    train = image_set((7, 12, 4, 9, 6))
    found = []
    for chunk in (1, 2, 5, 100):
        given = task(2, 2, train=train, network=network, chunk=chunk)
        found.append(run(given, 4, synthetic_cap=5, **FAST))
    for pixels, losses in found[1:]:
        torch.testing.assert_close(pixels, found[0][0], rtol=1e-12, atol=1e-12)
        for row, first in zip(losses, found[0][1], strict=True):
            assert row == pytest.approx(first, rel=1e-12)


def test_the_seed_decides_and_nothing_else() -> None:
    given = task(1, 2)
    pixels, losses = run(given, 3, **FAST)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        again, losses_again = run(given, 3, **FAST)
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
    assert torch.equal(pixels, again)
    assert losses == losses_again
    other, _ = run(replace(given, seed=given.seed + 1), 3, **FAST)
    assert not torch.equal(pixels, other)


def test_the_given_synthetic_and_experts_are_left_alone() -> None:
    given = task(1, 2)
    before = given.initial.clone()
    states = [{n: t.clone() for n, t in s.items()} for pair in given.experts for s in pair]
    run(given, 2, **FAST)
    assert torch.equal(given.initial, before)
    for state, kept in zip((s for pair in given.experts for s in pair), states, strict=True):
        assert all(torch.equal(state[name], kept[name]) for name in kept)
        assert not any(tensor.requires_grad for tensor in state.values())


def changed(given: CondensationTask, place: int, part: str) -> CondensationTask:
    """The problem with other numbers in the first (0) or last (1) weights of all experts."""
    pairs = []
    for pair in given.experts:
        states = [dict(state) for state in pair]
        for name in states[place]:
            if name.startswith(part):
                states[place][name] = states[place][name] * 1.5 + 0.1
        pairs.append(tuple(states))
    return replace(given, experts=tuple(pairs))


def trajectory(given: CondensationTask, **options: Any) -> torch.Tensor:
    return run(given, 2, **{**FAST, **options})[0]


def test_without_calibration_the_classifiers_of_the_experts_do_not_matter() -> None:
    """Matching embeds; what an expert recognises enters through the calibration alone."""
    given = task(1, 2)
    other = changed(given, 1, "classifier")
    for encoder in ("mid", "random"):
        off = {"encoder": encoder, "calibration": False}
        assert torch.equal(trajectory(given, **off), trajectory(other, **off))
        assert not torch.equal(
            trajectory(given, encoder=encoder), trajectory(other, encoder=encoder)
        )
    assert "calibration" not in run(given, 1, calibration=False, **FAST)[1][0]


@pytest.mark.parametrize("encoder", ["random", "fixed_random"])
def test_random_encoders_leave_the_experts_out_of_matching(encoder: str) -> None:
    given = task(1, 2)
    first = run(given, 1, encoder=encoder, **FAST)[1][0]
    final = run(changed(given, 1, ""), 1, encoder=encoder, **FAST)[1][0]
    assert final["alignment"] == first["alignment"]
    assert final["calibration"] != first["calibration"]
    # and the first weights of an expert are only ever a mid encoder's
    other = changed(given, 0, "")
    assert torch.equal(trajectory(given, encoder=encoder), trajectory(other, encoder=encoder))
    assert not torch.equal(trajectory(given), trajectory(other))


@pytest.mark.parametrize("encoder", ["random", "fixed_random"])
def test_no_expert_is_needed_when_neither_view_uses_one(encoder: str) -> None:
    options = {"encoder": encoder, "calibration": False}
    assert not DANCE(DANCEConfig(**options)).needs_experts()  # type: ignore[arg-type]
    check(task(1, 2, experts=0), **{**FAST, **options})


@pytest.mark.parametrize("encoder", ["mid", "random"])
def test_experts_are_needed_where_a_view_uses_one(encoder: str) -> None:
    config = DANCEConfig(encoder=encoder)  # type: ignore[arg-type]
    assert DANCE(config).needs_experts()
    assert DANCE(DANCEConfig(calibration=False)).needs_experts()
    given = task(1, 1, experts=0)
    with pytest.raises(MissingExpertsError, match="at least one expert: got none"):
        DANCE(config).start(given)


def test_calibration_counts_iterations_from_one() -> None:
    """Line 7 of Algorithm 1: i % I_c = 0 with i = 1, ..., I."""
    given = task(2, 2)
    rows = run(given, 7, calibration_interval=3)[1]
    assert [number for number, row in enumerate(rows, 1) if "calibration" in row] == [3, 6]


def test_random_encoders_are_fresh_or_fixed() -> None:
    """With one picture set and no augmentation, the encoder alone changes the loss."""
    given = task(1, 1, experts=0)
    still = {"learning_rate": 1e-30, "calibration": False, "augmentation": "", "real_batch": 0}
    fixed = [row["alignment"] for row in run(given, 4, encoder="fixed_random", **still)[1]]
    fresh = [row["alignment"] for row in run(given, 4, encoder="random", **still)[1]]
    assert len(set(fixed)) == 1
    assert len(set(fresh)) == 4


def test_the_first_clamp_is_at_the_start_and_none_is_at_the_end() -> None:
    """What is stored after an iteration may lie outside [0,1]; what is matched may not."""
    given = task(1, 1)
    wild = replace(given, initial=given.initial * 3 - 1)
    tame = replace(given, initial=wild.initial.clamp(0, 1))
    assert torch.equal(trajectory(wild), trajectory(tame))
    pixels = trajectory(given)
    assert pixels.min() < 0 or pixels.max() > 1


def test_the_step_grows_with_the_images_per_class() -> None:
    """Losses average over the images of a class, so the step is the learning rate times ipc.

    Two equal stored images halve each other's gradient: they move as one alone does.
    """
    one = task(1, 1)
    two = replace(one, ipc=2, initial=one.initial.repeat_interleave(2, 0))
    options = {**FAST, "synthetic_cap": 200}
    alone, pair = run(one, 3, **options)[0], run(two, 3, **options)[0]
    torch.testing.assert_close(pair, alone.repeat_interleave(2, 0), rtol=1e-9, atol=1e-10)


def test_float32_is_close_to_float64() -> None:
    options = {"real_batch": 5}  # the published learning rate
    exact, _ = run(task(2, 2), 3, **options)
    single, losses = run(task(2, 2, dtype=torch.float32), 3, **options)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-5)
    assert all(np.isfinite(list(row.values())).all() for row in losses)


def test_bfloat16_is_near_float32_and_keeps_float32_synthetic() -> None:
    given = task(2, 2, dtype=torch.float32)
    exact, exact_losses = run(given, 3, **FAST)
    half, losses = run(replace(given, bfloat16=True), 3, **FAST)
    assert half.dtype == torch.float32
    for found, wanted in zip(losses[:1], exact_losses[:1], strict=True):
        assert found == pytest.approx(wanted, rel=0.05)
    moved = exact - given.initial
    assert torch.cosine_similarity((half - given.initial).flatten(), moved.flatten(), 0) > 0.95


def test_defaults_are_the_published_settings() -> None:
    assert dataclasses.asdict(DANCEConfig()) == {
        "iterations": 10_000,
        "learning_rate": 0.01,
        "momentum": 0.5,
        "steps": "per_class",
        "real_batch": 128,
        "synthetic_cap": 200,
        "augmentation": "color_crop_cutout",
        "encoder": "mid",
        "calibration": True,
        "calibration_interval": 1,
        "calibration_mean": "class",
        "calibration_weight": 1.0,
        "real_targets": "exact",
        "bank_draws": 50,
    }
