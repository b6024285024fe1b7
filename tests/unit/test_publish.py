"""What a card says about the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dance.publish import _command


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("condense --output runs/x cifar10 --ipc 10", "condense cifar10 --ipc 10"),
        ("condense --resume cifar10", "condense cifar10"),
        ("condense cifar10 --data-root /srv/images --seed 1", "condense cifar10 --seed 1"),
        ("condense --source.root /srv/images cifar10", "condense cifar10"),
        ("condense --source.root=/srv/images --output=x cifar10", "condense cifar10"),
        ("condense cifar10 --networks mlp vgg11", "condense cifar10 --networks mlp vgg11"),
    ],
)
def test_the_command_is_without_places_of_a_machine(given: str, said: str) -> None:
    run: Any = SimpleNamespace(environment={"command": ["/usr/bin/dance", *given.split()]})
    assert _command(run) == f"dance {said}"
