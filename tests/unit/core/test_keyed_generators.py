"""Keyed generators: equal everywhere, independent of each other and of the global ones."""

from __future__ import annotations

import itertools

import pytest
import torch

from dance.core.rng import key, keyed_generator


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ((0, "encoder", 0), 7940456901170463251),
        ((1, "real", 3, 7), 3746709830248872483),
        ((-5, "select"), 7658444814267222308),
    ],
)
def test_keys_never_change(arguments: tuple[int, str], number: int) -> None:
    """Half of `b2sum -l 64` of "0/encoder/0": changing it changes every result of every seed."""
    assert key(*arguments) == number


def test_keys_differ_in_every_argument() -> None:
    seeds, purposes, steps = range(-3, 20), ("real", "alignment", "calibration"), range(30)
    keys = [key(s, p, i) for s, p, i in itertools.product(seeds, purposes, steps)]
    keys += [
        key(s, p, i, j) for s, p, i, j in itertools.product(seeds, purposes, range(9), range(9))
    ]
    assert len(set(keys)) == len(keys)
    assert all(0 <= k < 2**63 for k in keys)
    assert key(1, "real", 23) != key(12, "real", 3)
    assert key(0, "real", 1, 23) != key(0, "real", 12, 3)


def test_generators_repeat_and_share_nothing() -> None:
    first, other = keyed_generator(0, "real", 1), keyed_generator(0, "real", 2)
    expected = torch.rand(5, generator=keyed_generator(0, "real", 1))
    torch.rand(100, generator=other)
    assert torch.equal(torch.rand(5, generator=first), expected)
    assert first.device.type == "cpu"


def test_first_numbers_of_consecutive_steps_are_uniform_and_uncorrelated() -> None:
    """One number a step is what draws lambda and the expert: the key must mix as a stream does."""
    u = torch.stack(
        [
            torch.rand(2, generator=keyed_generator(0, "encoder", i), dtype=torch.float64)
            for i in range(4000)
        ]
    )
    counts = torch.histc(u.flatten(), 20, 0, 1)
    expected = 8000 / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 43.8  # chi2(19), p = 0.001
    series = u[:, 0] - u[:, 0].mean()
    for lag in (1, 2, 10):
        correlation = (series[:-lag] * series[lag:]).mean() / series.square().mean()
        assert abs(float(correlation)) < 4 / 4000**0.5
    between = torch.corrcoef(u.T)[0, 1]
    assert abs(float(between)) < 4 / 4000**0.5
