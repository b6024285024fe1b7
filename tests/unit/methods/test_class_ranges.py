"""Processes that own some classes do together what one process does; chunks do not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dance.core.errors import DataError
from dance.data.sampler import ClassSampler
from dance.methods import METHODS, CondensationTask, Coreset
from dance.methods.base import PixelState
from dance.methods.dance import DANCE, DANCEConfig
from dance.networks import NetworkConfig
from unit.methods.tasks import image_set, task

TRAIN = image_set((50, 70, 36, 49, 90, 41), resolution=8)
BATCH = 35
"""More than half of what is forwarded together, so that real groups never span classes."""
FAST: dict[str, Any] = {"learning_rate": 0.3, "real_batch": BATCH}
HALVES = [range(0, 2), range(2, 6)]
QUARTERS = [range(0, 2), range(2, 4), range(4, 5), range(5, 6)]


def owned(given: CondensationTask, classes: range) -> CondensationTask:
    """The part of a problem that one process has."""
    rows = slice(classes.start * given.ipc, classes.stop * given.ipc)
    bank = None if given.bank is None else given.bank[:, classes.start : classes.stop]
    return replace(
        given,
        train=given.train.only(classes),
        initial=given.initial[rows].clone(),
        classes=classes,
        bank=bank,
    )


def run(given: CondensationTask, iterations: int, **options: Any) -> tuple[PixelState, list[Any]]:
    method = DANCE(DANCEConfig(**{**FAST, **options}))
    made = method.start(given)
    losses = [made.step(iteration) for iteration in range(iterations)]
    return made.state, [{name: loss.double() for name, loss in row.items()} for row in losses]


def by_processes(
    given: CondensationTask, parts: list[range], iterations: int, **options: Any
) -> tuple[PixelState, list[Any]]:
    """What several processes make, put together as the engine does."""
    runs = [run(owned(given, classes), iterations, **options) for classes in parts]
    parts = [state.tensors() for state, _ in runs]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    rows = zip(*(losses for _, losses in runs), strict=True)
    return PixelState(**whole), [
        {name: torch.stack([part[name] for part in row]).sum() for name in row[0]} for row in rows
    ]


def check_losses(found: list[Any], wanted: list[Any], relative: float) -> None:
    for row, expected in zip(found, wanted, strict=True):
        assert row.keys() == expected.keys()
        for name in row:
            torch.testing.assert_close(row[name], expected[name], rtol=relative, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parts", [HALVES, QUARTERS], ids=["two", "four"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": "joint"},
        {"synthetic_cap": 5, "calibration_mean": "set"},
        {"calibration_interval": 2, "momentum": 0.9},
        {"encoder": "random"},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()) or "default",
)
def test_processes_together_make_the_bytes_of_one(
    dtype: torch.dtype, parts: list[range], options: dict[str, Any]
) -> None:
    """Chunks of one class are the same chunks in every process."""
    given = task(2, 2, train=TRAIN, chunk=1, dtype=dtype)
    one, losses = run(given, 4, **options)
    many, summed = by_processes(given, parts, 4, **options)
    for name, tensor in one.tensors().items():
        assert torch.equal(many.tensors()[name], tensor), name
    check_losses(summed, losses, 1e-6 if dtype == torch.float32 else 1e-14)


def test_chunks_of_several_classes_that_begin_where_a_process_begins_are_the_same_too() -> None:
    given = task(2, 2, train=TRAIN, chunk=2, dtype=torch.float32)
    one, _ = run(given, 4)
    many, _ = by_processes(given, [range(0, 2), range(2, 6)], 4)
    assert torch.equal(many.pixels, one.pixels)
    assert torch.equal(many.velocity, one.velocity)


# Of stored images (about 1) and, relative, of losses, after 4 steps. Measured on x86: stored
# images the same bytes in both dtypes; losses, which are summed in another order, 3e-16 and 1e-7.
BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6}


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("real_batch", [4, BATCH, 0])
def test_other_chunks_and_borders_change_nothing_but_rounding(
    dtype: torch.dtype, real_batch: int
) -> None:
    """Real images of several classes go through one forward in one process, not in the other."""
    given = task(2, 2, train=TRAIN, chunk=6, dtype=dtype)
    options = {"real_batch": real_batch, "learning_rate": 0.05}
    one, losses = run(given, 4, **options)
    bound = BOUNDS[dtype]
    for chunk in (1, 4):
        other, again = run(replace(given, chunk=chunk), 4, **options)
        torch.testing.assert_close(other.pixels, one.pixels, rtol=0, atol=bound)
        check_losses(again, losses, bound)
        for parts in (HALVES, QUARTERS, [range(0, 6), range(6, 6)]):
            many, summed = by_processes(replace(given, chunk=chunk), parts, 4, **options)
            torch.testing.assert_close(many.pixels, one.pixels, rtol=0, atol=bound)
            check_losses(summed, losses, bound)


def test_a_process_without_classes_takes_part_with_nothing() -> None:
    given = owned(task(2, 2, train=TRAIN), range(6, 6))
    state, losses = run(given, 2)
    assert state.pixels.shape == (0, 3, 8, 8)
    assert all(float(loss) == 0 for row in losses for loss in row.values())


def test_the_images_of_others_do_not_matter_and_the_own_ones_do() -> None:
    """Else the equality above could come from classes that nobody reads."""
    given = task(1, 2, train=TRAIN)
    classes = range(2, 4)
    part = owned(given, classes)
    kept, _ = run(part, 2)
    whole, _ = run(replace(part, train=TRAIN), 2)
    assert torch.equal(kept.pixels, whole.pixels)
    darker = replace(part.train, images=part.train.images // 2)
    assert not torch.equal(run(replace(part, train=darker), 2)[0].pixels, kept.pixels)


def test_samplers_of_ranges_read_what_the_whole_one_reads() -> None:
    whole = ClassSampler(TRAIN, 12, seed=5)
    for classes in QUARTERS:
        train = TRAIN.only(classes)
        part = ClassSampler(train, 12, 5, classes)
        for step in (0, 1, 7, 8, 3):
            expected = [TRAIN.images[whole.rows(label, step)] for label in classes]
            assert torch.equal(train.images[part.batch(step)], torch.cat(expected))
            found = [train.images[part.rows(label, step)] for label in classes]
            assert torch.equal(torch.cat(found), torch.cat(expected))


def test_a_class_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="every class needs an image to sample: class 'class 0'"):
        ClassSampler(TRAIN.only(range(1, 6)), 4, 0)


def test_random_selection_of_ranges_is_that_of_the_whole() -> None:
    method = METHODS.get("random")(None)
    assert isinstance(method, Coreset)
    given = task(2, 1, train=TRAIN, experts=0)
    one = TRAIN.images[method.select(given)]
    parts = [owned(given, classes) for classes in QUARTERS]
    many = [part.train.images[method.select(part)] for part in parts]
    assert torch.equal(torch.cat(many), one)


def test_no_tensor_of_the_state_is_shared_so_all_are_sharded() -> None:
    given = task(2, 2, train=TRAIN, network=NetworkConfig(width=4, depth=1))
    made = DANCE(DANCEConfig()).start(owned(given, range(1, 3)))
    assert made.state.shared() == frozenset()
    assert all(len(tensor) == 4 for tensor in made.state.tensors().values())
