"""Keyed randomness: the same on every machine, independent between purposes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.core.rng import key, keyed_generator


def test_keys_do_not_change_between_versions() -> None:
    """Stored experts and runs are found again by these numbers."""
    assert key(0, "order", 3) == 228291028133782092
    assert keyed_generator(0, "order", 3).initial_seed() == 228291028133782092


@given(st.integers(-(2**63), 2**64), st.text(max_size=5), st.lists(st.integers(0, 99), max_size=3))
def test_keys_fit_a_seed(seed: int, purpose: str, steps: list[int]) -> None:
    assert 0 <= key(seed, purpose, *steps) < 2**63
    assert key(seed, purpose, *steps) == key(seed, purpose, *steps)


def test_every_part_of_a_key_counts() -> None:
    keys = {
        key(seed, purpose, *steps)
        for seed in range(3)
        for purpose in ("order", "augment", "weights")
        for steps in ((), (0,), (1,), (0, 1), (1, 0), (11,), (1, 1))
    }
    assert len(keys) == 3 * 3 * 7


def test_a_generator_does_not_depend_on_earlier_draws() -> None:
    first = torch.rand(4, generator=keyed_generator(0, "order", 1))
    torch.rand(100, generator=keyed_generator(0, "order", 0))
    assert torch.equal(first, torch.rand(4, generator=keyed_generator(0, "order", 1)))
    assert not torch.equal(first, torch.rand(4, generator=keyed_generator(1, "order", 1)))
