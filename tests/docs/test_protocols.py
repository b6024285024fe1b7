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
    own = PROTOCOLS.get(name)
    fit = own.schedule(100, 10, 32)
    tests = own.test_epochs(fit.epochs, 32)
    every = f"every {tests[0]}" if len(tests) > 4 else len(tests) if len(tests) > 1 else "last"
    milestones = (
        fit.milestone_epochs()
        if own.steps is None
        else [f"at {fit.milestones[0]}", fit.milestones[1]]
    )
    assert table()[name] == {
        "epochs": str(fit.epochs) if own.steps is None else f"{own.steps} steps",
        "batch": str(fit.batch_size),
        "optimiser": {"sgd": "SGD", "adamw": "AdamW"}[fit.optimiser],
        "learning rate": "the set's" if own.learned_rate else f"{fit.learning_rate:g}",
        "momentum": f"{fit.momentum:g}",
        "weight decay": f"{fit.weight_decay:g}",
        "rate falls by": f"{fit.gamma:g}",
        "from epoch": ", ".join(map(str, milestones)),
        "momentum is then": "lost" if fit.reset_momentum else "kept",
        "augmentation": fit.augmentation_mode,
        "CutMix": f"{fit.cutmix:g}",
        "norm of a ConvNet": own.norm or "the set's",
        "networks": str(own.networks(32)),
        "tests": str(every),
    }
