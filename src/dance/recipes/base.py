"""What a recipe is: a named, complete configuration that opens with where it is from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dance.core.config import to_yaml
from dance.core.registry import Registry
from dance.engine import RunConfig


@dataclass(frozen=True)
class Recipe:
    """One named configuration.

    Attributes:
        name: such as ``dance-cifar10-ipc10``.
        paper: where it is from.
        command: what runs it.
        expect: the accuracy to expect, and whose number that is.
        config: makes the configuration.
    """

    name: str
    paper: str
    command: str
    expect: str
    config: Callable[[], RunConfig]

    def text(self) -> str:
        """YAML that ``--config`` reads back, opening with paper, command and expectation."""
        opening = (self.paper, f"command: {self.command}", f"expect: {self.expect}")
        return "".join(f"# {line}\n" for line in opening) + to_yaml(self.config())


RECIPES: Registry[Recipe] = Registry("recipe", "dance.recipes")

Settings = Callable[[str, int, int], RunConfig]
"""Data, images per class and side in pixels to the configuration that a method is published with,
or by its own rule would be."""
SETTINGS: Registry[Settings] = Registry("method with settings of its own", "dance.recipes")
"""By method; a method that is not here takes the data-dependent settings of DANCE."""

QUICK: Registry[Mapping[str, Any]] = Registry("method with quick settings", "dance.recipes")
"""By method: nested plain settings that ``--config quick`` changes besides those of all methods, so
that CIFAR-10 at ten images a class takes minutes."""
