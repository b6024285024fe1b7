"""Which steps a request for snapshots means."""

from __future__ import annotations

import pytest

from dance.core.errors import ConfigError
from dance.engine.snapshots import snapshot_steps


@pytest.mark.parametrize(
    ("requested", "steps"),
    [
        ((), set()),
        ((3, 10), {3, 10}),
        (["3", "every:4"], {3, 4, 8}),
        ("every:5", {5, 10}),
        ("7", {7}),
        (("10", "10"), {10}),
    ],
)
def test_steps(requested, steps) -> None:
    assert snapshot_steps(requested, 10) == steps


@pytest.mark.parametrize(("given", "got"), [(5, "5"), (None, "null"), (2.5, "2.5"), (True, "true")])
def test_what_is_no_list_is_refused(given, got) -> None:
    with pytest.raises(ConfigError, match=f"snapshots must be a list of steps.*: got {got};"):
        snapshot_steps(given, 10)


@pytest.mark.parametrize("word", ["0", "11", "-1", "2.5", "every:0", "every:11", "each:2", "", "²"])
def test_what_is_no_step_of_the_run_is_refused(word) -> None:
    with pytest.raises(ConfigError, match=r"from 1 to the number of iterations, 10"):
        snapshot_steps([word], 10)
