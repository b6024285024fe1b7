"""Several processes of one run, started as torchrun or SLURM would start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SECONDS = 300
"""Longest that a group of processes may take."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """The variables of this process without those of a launcher, one thread, and ``more``."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM", "TORCHELASTIC"))
        and name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    return {**mine, "OMP_NUM_THREADS": "1", **more}


def start(size: int, *words: str | Path, **more: str) -> list[subprocess.Popen[str]]:
    """``python *words`` in ``size`` processes that find each other; ``more`` variables."""
    port = free_port()
    started = []
    for rank in range(size):
        place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": port}
        variables = {name: str(value) for name, value in place.items()}
        started.append(
            subprocess.Popen(
                [sys.executable, *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(**variables, MASTER_ADDR="127.0.0.1", **more),
            )
        )
    return started


def finish(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; none of them outlives the call."""
    try:
        ended = [process.communicate(timeout=SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(p.returncode, out, err) for p, (out, err) in zip(started, ended, strict=True)]
