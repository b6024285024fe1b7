"""DANCE with a bank: what an entry is, which one a step takes, and no real image is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dance.augment import siamese
from dance.core.errors import ConfigError, MissingExpertsError
from dance.core.rng import keyed_generator
from dance.data.sampler import ClassSampler
from dance.experts import interpolate
from dance.methods import CondensationTask
from dance.methods.dance import DANCE, DANCEConfig
from unit.methods import literal
from unit.methods.tasks import image_set, task
from unit.methods.test_class_ranges import owned

DRAWS = 3
BANK: dict[str, Any] = {"real_targets": "bank", "bank_draws": DRAWS}
FAST: dict[str, Any] = {"learning_rate": 0.3, "real_batch": 5}


def entries(given: CondensationTask, **options: Any) -> torch.Tensor:
    method = DANCE(DANCEConfig(**{**FAST, **BANK, **options}))
    return torch.stack([*map(method.bank_entries(given), range(method.bank_draws()))])


def emptied(given: CondensationTask) -> CondensationTask:
    """The same problem without a single real image."""
    train = given.train
    return replace(given, train=replace(train, images=train.images[:0], labels=train.labels[:0]))


def with_bank(given: CondensationTask, **options: Any) -> CondensationTask:
    return emptied(replace(given, bank=entries(given, **options)))


def run(given: CondensationTask, iterations: int, **options: Any) -> tuple[torch.Tensor, list[Any]]:
    method = DANCE(DANCEConfig(**{**FAST, **options}))
    made = method.start(given)
    losses = [made.step(t) for t in range(iterations)]
    return made.state.pixels, [{name: float(x) for name, x in row.items()} for row in losses]


def order(seed: int, turn: int) -> list[int]:
    generator = keyed_generator(seed, "bank order", turn)
    return torch.randperm(DRAWS, generator=generator).tolist()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"calibration": False},
        {"calibration_interval": 2, "steps": "joint"},
        {"synthetic_cap": 3},
        {"real_batch": 0, "calibration_mean": "set"},
        {"augmentation": "color"},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()) or "default",
)
def test_is_the_literal_algorithm_on_the_draws_of_the_entries(options: dict[str, Any]) -> None:
    """Three turns of three entries and a part of a fourth."""
    given, options = task(2, 2), {**FAST, **BANK, **options}
    expected = literal.condense(given, DANCEConfig(**options), 10)
    assert len(expected.experts) == len(given.experts)
    pixels, losses = run(with_bank(given, **options), 10, **options)
    torch.testing.assert_close(pixels, expected.pixels, rtol=1e-9, atol=1e-10)
    for found, wanted in zip(losses, expected.losses, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)


def test_turns_have_orders_of_their_own_and_every_entry_once() -> None:
    orders = [order(3, turn) for turn in range(6)]
    assert all(sorted(found) == list(range(DRAWS)) for found in orders)
    assert len({tuple(found) for found in orders}) > 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_entry_is_what_an_exact_step_of_its_number_matches(dtype: torch.dtype) -> None:
    """Computed here by class, from the images and the draws."""
    given = task(1, 2, dtype=dtype)
    sampler, train = ClassSampler(given.train, 5, given.seed), given.train
    mean, std = (
        torch.tensor(v, dtype=dtype).view(-1, 1, 1)
        for v in (train.normalization.mean, train.normalization.std)
    )
    for number, found in enumerate(entries(given)):
        generator = keyed_generator(given.seed, "encoder", number)
        first, last = given.experts[int(torch.randint(2, (), generator=generator))]
        encoder = interpolate(first, last, float(torch.rand((), generator=generator)))
        generator = keyed_generator(given.seed, "alignment", number)
        drawn = siamese.draw("color_crop_cutout", 3, train.resolution, generator)
        for label in range(3):
            real = train.images[sampler.rows(label, number)].to(dtype) / 255
            images = literal.augment((real - mean) / std, drawn, label)
            expected = literal.features(encoder, images, "instance").mean(0)
            close = {"rtol": 1e-9, "atol": 1e-10} if dtype == torch.float64 else {}
            torch.testing.assert_close(found[label], expected.to(dtype), **close)


def test_a_bank_run_whose_order_is_straight_makes_the_bytes_of_the_exact_run() -> None:
    """So an entry has the bytes of what the exact step of its number computes."""
    seed = next(s for s in range(1000) if order(s, 0) == list(range(DRAWS)))
    given = task(2, 2, seed=seed, dtype=torch.float32)
    exact, exact_losses = run(given, DRAWS)
    bank, losses = run(with_bank(given), DRAWS, **BANK)
    assert torch.equal(bank, exact)
    assert losses == exact_losses


def test_after_a_return_entries_keep_their_own_encoder_and_augmentation() -> None:
    """The run goes on with another seed, and the bank is still that of the first one."""
    given, plain = task(2, 2, dtype=torch.float32), {"calibration": False}
    other = next(s for s in range(1000) if order(s, 0) == list(range(DRAWS)) and s != given.seed)
    exact, exact_losses = run(given, DRAWS, **plain)
    returned = replace(with_bank(given, **plain), seed=other)
    assert (returned.bank_seed, replace(returned, bank=None).bank_seed) == (given.seed, None)
    pixels, losses = run(returned, DRAWS, **BANK, **plain)
    assert torch.equal(pixels, exact) and losses == exact_losses


def test_after_a_return_order_subset_and_calibration_are_new() -> None:
    given = with_bank(task(2, 2, dtype=torch.float32))
    for options in ({"calibration": False}, {"calibration": False, "synthetic_cap": 3}, {}):
        first, second = (
            run(replace(given, seed=seed), DRAWS, **BANK, **options)[0]
            for seed in (given.seed, given.seed + 1)
        )
        assert not torch.equal(first, second)


def test_an_entry_depends_on_its_number_and_the_real_side_alone() -> None:
    given = task(1, 1)
    found = entries(given)
    others = task(2, 3, chunk=1)  # other images per class, factor and chunk; the same experts
    assert torch.equal(entries(others), found)
    longer = entries(given, bank_draws=2 * DRAWS)
    assert torch.equal(longer[:DRAWS], found)
    entry = DANCE(DANCEConfig(**FAST, **BANK)).bank_entries(given)
    assert torch.equal(entry(2), found[2])  # without those before it
    assert torch.equal(entry(0), found[0])
    assert len({tuple(entry.flatten().tolist()) for entry in longer}) == 2 * DRAWS
    for changed in (
        entries(replace(given, seed=given.seed + 1)),
        entries(given, real_batch=4),
        entries(given, augmentation="color"),
        entries(replace(given, experts=given.experts[:1])),
    ):
        assert not torch.equal(changed, found)


def test_processes_with_their_rows_of_the_bank_make_the_bytes_of_one() -> None:
    train = image_set((50, 70, 36, 49), resolution=8)
    given = task(2, 2, train=train, chunk=1, dtype=torch.float32)
    options = {**BANK, "real_batch": 35}
    whole = replace(given, bank=entries(given, **options))
    parts = [range(0, 1), range(1, 4)]
    rows = torch.cat([entries(owned(given, own), **options) for own in parts], 1)
    assert torch.equal(rows, whole.bank)
    one, losses = run(whole, 4, **options)
    runs = [run(emptied(owned(whole, own)), 4, **options) for own in parts]
    assert torch.equal(torch.cat([pixels for pixels, _ in runs]), one)
    for row, *shares in zip(losses, *(part for _, part in runs), strict=True):
        for name, loss in row.items():
            assert sum(share[name] for share in shares) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("cut", [1, 4])
def test_resumed_inside_a_turn_it_goes_on_as_if_never_stopped(cut: int) -> None:
    given, config = with_bank(task(2, 2, dtype=torch.float32)), DANCEConfig(**FAST, **BANK)
    straight, _ = run(given, 7, **BANK)
    first, second = (DANCE(config).start(given) for _ in range(2))
    for iteration in range(cut):
        first.step(iteration)
    for name, tensor in first.state.tensors().items():
        second.state.tensors()[name].copy_(tensor)
    for iteration in range(cut, 7):
        second.step(iteration)
    assert torch.equal(second.state.pixels, straight)


def test_random_encoders_have_no_bank() -> None:
    with pytest.raises(ConfigError, match="real_targets bank needs encoder mid"):
        DANCE(DANCEConfig(encoder="random", real_targets="bank"))


@pytest.mark.parametrize(("held", "asked"), [(0, DRAWS), (DRAWS, 0), (2, DRAWS)])
def test_a_bank_of_another_length_is_refused(held: int, asked: int) -> None:
    given = task(1, 1)
    given = replace(given, bank=entries(given)[:held] if held else None)
    with pytest.raises(MissingExpertsError, match=rf"bank of {asked} entries: got {held}"):
        run(given, 1, **(BANK if asked else {}))


def test_nothing_is_asked_for_in_the_exact_mode() -> None:
    assert DANCE(DANCEConfig()).bank_draws() == 0
    assert DANCE(DANCEConfig(real_targets="bank")).bank_draws() == DANCEConfig.bank_draws
