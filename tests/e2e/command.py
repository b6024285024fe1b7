"""Commands as tests run them: in this process where that will do, since torch is slow to import."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dance.cli.main import main
from dance.data import load

TINY = (
    "--ipc=1", "--network.width=8", "--experts.count=1", "--experts.epochs=1", "--repeats=1",
    "--options.iterations=3", "--protocol=quick-v1", "--epochs=1", "--evaluation.baselines=random",
)  # fmt: skip
"""A run of seconds."""


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*words: str | Path) -> Outcome:
    """Run one command in this process."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


def done(*words: str | Path) -> Outcome:
    """Run one command that must succeed."""
    outcome = command(*words)
    assert outcome.code == 0, outcome.err
    return outcome


def inverted_digits(path: Path) -> Path:
    """Write the digits, with the test images as their negatives, to an ``.npz`` file."""
    train, test = load("digits", "train"), load("digits", "test")
    np.savez(
        path,
        images=train.images[:, 0].numpy(),
        labels=train.labels.numpy(),
        test_images=255 - test.images[:, 0].numpy(),
        test_labels=test.labels.numpy(),
        classes=train.classes,
    )
    return path


def process(*words: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start one command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dance", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@dataclass
class Ended:
    code: int

    def poll(self) -> int:
        return self.code

    def stop(self) -> None: ...


class Here:
    """Runs commands in this process; ``before`` may decide what becomes of one."""

    slots = 1

    def __init__(self, before: Callable[[Sequence[str]], int | None] = lambda words: None) -> None:
        self.before = before
        self.started: list[str] = []

    def start(self, words: Sequence[str], output: Path, slot: int) -> Ended:
        self.started.append(words[0])
        code = self.before(words)
        if code is None:
            outcome = command(*words)
            code = outcome.code
            with output.open("a", encoding="utf-8") as log:
                log.write(outcome.out + outcome.err)
        return Ended(code)
