"""Runs the cells of a bench: as processes of this machine, or as jobs of SLURM."""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from dance.bench.plan import Cell
from dance.core.errors import ConfigError, LockedError
from dance.core.launch import usable_cores
from dance.core.libraries import need_library
from dance.core.progress import log
from dance.engine.rundir import RunDirectory

LOGS = "logs"
"""Folder of what the commands of the cells print, in the directory of a bench."""
_ATTEMPTS = 2
"""How often a command is started if its process dies."""
_POLL_SECONDS = 0.2
_BUSY_SECONDS = 2.0
"""Seconds until a run directory that another process is using is tried again."""
_SAID = re.compile(r"(?:\S+FailedJobError: )?dance: (.*)")
"""The message of a command, as it prints it or as submitit does."""
_DIED = -1
"""Exit code of a job whose machine died."""
_STOPPED = 130
"""Exit code of a command that a signal stopped; it goes on when it is repeated."""


class Job(Protocol):
    """One command that runs somewhere."""

    def poll(self) -> int | None:
        """The exit code, negative if the process or machine died; None while it runs."""

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""


class Executor(Protocol):
    """Where commands run."""

    slots: int
    """Number of commands at once."""

    def start(self, words: Sequence[str], output: Path, slot: int) -> Job:
        """Start ``dance WORDS``.

        Args:
            words: arguments of the command.
            output: file to which the output is appended.
            slot: from 0 to ``slots - 1``; no other running command has it.
        """


def _check(**counts: int | None) -> None:
    """Refuse a number that is given and below 1.

    Raises:
        ConfigError: there is one.
    """
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1: got {value}")


class Local:
    """Processes of this machine, each with its share of the cores, and a GPU if there are any.

    Args:
        slots: number of processes at once (None: one for each GPU, or for each two cores).
        threads: of each process (None: its share of the cores).

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(self, slots: int | None = None, threads: int | None = None) -> None:
        _check(jobs=slots, threads=threads)
        self._devices = torch.cuda.device_count()
        self.slots = slots or self._devices or max(1, usable_cores() // 2)
        self._threads = threads or max(1, usable_cores() // self.slots)

    def start(self, words: Sequence[str], output: Path, slot: int) -> Job:
        """Start a process in a group of its own, so that Ctrl-C does not reach it twice."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads)}
        if self._devices:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            devices = visible.split(",") if visible else list(map(str, range(self._devices)))
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        with output.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dance", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                process_group=0,
            )
        return _Process(process)


@dataclass
class _Process:
    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)


class Slurm:
    """Jobs of SLURM, by submitit; each command is a job.

    Args:
        folder: for the files of submitit, outside of the run directories.
        parameters: of ``submitit.AutoExecutor.update_parameters``; ``cluster`` may be ``local``,
            which starts processes of this machine.
        slots: largest number of jobs that are queued or run at once (None: 64).

    Raises:
        ConfigError: ``slots`` is below 1, submitit is not installed, there is no SLURM, or it
            refuses a parameter.
    """

    def __init__(
        self, folder: Path, parameters: Mapping[str, Any], slots: int | None = None
    ) -> None:
        _check(jobs=slots)
        submitit = need_library("submitit", "slurm", "--slurm")
        self._submitit, self._folder = submitit, folder
        self.slots = slots or 64
        given = dict(parameters)
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=given.pop("cluster", "slurm"))
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"--slurm must be used on a cluster with SLURM: {error}") from error
        try:
            self._executor.update_parameters(**given)
        except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as error:
            raise ConfigError(
                f"--slurm must be parameters of submitit (timeout_min=60): {error}"
            ) from error

    def start(self, words: Sequence[str], output: Path, slot: int) -> Job:
        """Submit a job; its output is copied to the log when it ends."""
        function = self._submitit.helpers.CommandFunction(
            [sys.executable, "-m", "dance", *words], verbose=False
        )
        return _Submitted(self._submitit, self._executor.submit(function), output)


@dataclass
class _Submitted:
    submitit: Any
    job: Any
    log: Path

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        errors = self.submitit.core.utils
        try:
            self.job.result()
            code = 0
        except errors.FailedJobError:  # the command ended with an exit code
            code = 1
        except errors.UncompletedJobError:
            code = _DIED
        with self.log.open("a", encoding="utf-8") as file:
            for text in (self.job.stdout(), self.job.stderr()):
                file.write(text or "")
        return code

    def stop(self) -> None:
        self.job.cancel()


@dataclass
class State:
    """How far a cell is.

    Attributes:
        cell: the cell.
        run: its run directory.
        log: of its commands.
        left: commands that still must run.
        status: ``waiting``, ``running``, ``done`` or ``failed``.
        seconds: that its commands have taken so far, in this call.
        reason: why it failed.
    """

    cell: Cell
    run: Path
    log: Path
    left: list[list[str]]
    status: str = "waiting"
    seconds: float = 0.0
    reason: str = ""
    started: float = 0.0
    attempts: int = 0
    not_before: float = 0.0
    slot: int = 0
    job: Job | None = field(default=None, repr=False)


def execute(
    states: Sequence[State], executor: Executor, show: Callable[[Sequence[State]], None]
) -> None:
    """Run all cells until each is done or has failed.

    A command whose process or machine died is started once more. A cell whose run directory
    another process is using waits for it.

    Args:
        states: of the cells, which are updated.
        executor: where commands run.
        show: called several times a second, and when a cell ends.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the commands have been stopped, and go on when the
            bench is repeated.
    """
    with _interruptible():
        try:
            while any(state.status in ("waiting", "running") for state in states):
                for state in states:
                    if state.job is not None:
                        _look_after(state)
                _fill(states, executor)
                show(states)
                time.sleep(_POLL_SECONDS)
        finally:
            _stop([state.job for state in states if state.job is not None])
    show(states)


def _fill(states: Sequence[State], executor: Executor) -> None:
    """Start waiting cells in free slots."""
    free = set(range(executor.slots)) - {state.slot for state in states if state.job is not None}
    for state in states:
        if not free:
            return
        if state.status == "waiting" and time.monotonic() >= state.not_before:
            if state.left[0][0] != "evaluate" and _in_use(state):
                continue
            state.slot = free.pop()
            state.status, state.started = "running", time.monotonic()
            state.log.parent.mkdir(parents=True, exist_ok=True)
            with state.log.open("a", encoding="utf-8") as file:
                file.write(f"$ dance {shlex.join(state.left[0])}\n")
            state.attempts += 1
            state.job = executor.start(state.left[0], state.log, state.slot)


def _in_use(state: State) -> bool:
    """Whether another process makes this run; then the cell is tried again in some seconds."""
    try:
        with RunDirectory(state.run).exclusively():
            return False
    except LockedError as error:
        if not state.not_before:
            log(f"{state.cell.name} waits: {error}")
        state.not_before = time.monotonic() + _BUSY_SECONDS
        return True


def _look_after(state: State) -> None:
    """Note what became of the command of a running cell."""
    assert state.job is not None
    code = state.job.poll()
    if code is None:
        return
    state.job = None
    state.seconds += time.monotonic() - state.started
    state.status = "waiting"
    if code == 0:
        state.left, state.attempts = state.left[1:], 0
        state.status = "waiting" if state.left else "done"
    elif code > 0 and code != _STOPPED and _in_use(state):
        state.attempts = 0  # another command has begun to make it in the meantime
    elif not (code < 0 or code == _STOPPED) or state.attempts >= _ATTEMPTS:
        state.status, state.reason = "failed", _reason(state.log, code)


def _reason(path: Path, code: int) -> str:
    """The message of the command, or how its process ended."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    last = max(
        (place for place, line in enumerate(lines) if line.startswith("$ dance ")), default=0
    )
    said = [match[1] for line in lines[last:] if (match := _SAID.match(line))]
    if said and code > 0 and code != _STOPPED:
        return said[-1]
    how = f"was killed by signal {-code}" if code < _DIED else f"ended with exit code {code}"
    return f"its process {'died' if code == _DIED else how}; see {LOGS}/{path.name}"


def _stop(jobs: Sequence[Job]) -> None:
    """Ask jobs to end, and wait for them."""
    for job in jobs:
        job.stop()
    while any([job.poll() is None for job in jobs]):
        time.sleep(_POLL_SECONDS)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)


def seconds_left(
    states: Sequence[State], known: Mapping[tuple[Any, ...], float], slots: int
) -> float | None:
    """Estimated seconds until all cells are done; None before anything is known.

    Args:
        states: of all cells.
        known: seconds of a cell by its kind.
        slots: number of cells at once.
    """
    measured = dict(known)
    measured |= {s.cell.kind: s.seconds for s in states if s.status == "done" and s.seconds}
    if not measured:
        return None
    mean, now = sum(measured.values()) / len(measured), time.monotonic()
    left = [
        measured.get(s.cell.kind, mean) - (now - s.started if s.status == "running" else 0)
        for s in states
        if s.status in ("waiting", "running")
    ]
    left = [max(seconds, 0.0) for seconds in left]
    return max([math.fsum(left) / slots, *left], default=0.0)
