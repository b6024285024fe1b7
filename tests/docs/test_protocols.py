"""The page of the protocols shows the values that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dance.evaluation import PROTOCOLS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"


def table() -> dict[str, dict[str, str]]:
    """What the table of values says, by protocol and row."""
    text = PAGE.read_text(encoding="utf-8").split("## The values")[1]
    lines = [line for line in text.split("## ")[0].splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: {row[0]: row[place] for row in rows} for place, name in enumerate(head) if name}


def test_every_protocol_is_there() -> None:
    assert set(table()) == set(PROTOCOLS.names())


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_values(name: str) -> None:
    protocol = PROTOCOLS.get(name)
    training = protocol.schedule(100, 10, 32)
    tests = protocol.test_epochs(training.epochs, 32)
    every = f"every {tests[0]}" if len(tests) > 4 else len(tests) if len(tests) > 1 else "last"
    milestones = (
        training.milestone_epochs()
        if protocol.steps is None
        else [f"at {training.milestones[0]}", training.milestones[1]]
    )
    assert table()[name] == {
        "epochs": str(training.epochs) if protocol.steps is None else f"{protocol.steps} steps",
        "batch": str(training.batch_size),
        "optimiser": {"sgd": "SGD", "adamw": "AdamW"}[training.optimiser],
        "learning rate": "the set's" if protocol.learned_rate else f"{training.learning_rate:g}",
        "momentum": f"{training.momentum:g}",
        "weight decay": f"{training.weight_decay:g}",
        "learning rate is multiplied by": f"{training.gamma:g}",
        "from epoch": ", ".join(map(str, milestones)),
        "momentum is then": "reset" if training.reset_momentum else "kept",
        "augmentation": training.augmentation_mode,
        "CutMix": f"{training.cutmix:g}",
        "norm of a ConvNet": protocol.norm or "the set's",
        "networks": str(protocol.networks(32)),
        "tests": str(every),
    }
