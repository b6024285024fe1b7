"""One run: data, experts, condensation, scores; resumable at any point."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from dance import __version__
from dance.core import device as devices
from dance.core.checkpoint import Checkpoints
from dance.core.errors import ArtifactError, ConfigError
from dance.core.interrupt import deferred_interrupt
from dance.core.progress import log, track
from dance.core.storage import read_json, write_json
from dance.engine.config import RunConfig
from dance.engine.package import package
from dance.engine.rundir import RunDirectory, default_place, identity
from dance.engine.scoring import score_run
from dance.engine.stage import Stage, stage
from dance.methods import Condenser, Coreset, Problem
from dance.methods.base import Tensors

_LOG_SECONDS = 2.0
"""Time between two writes of losses, which are read from the device only then."""


def run(
    config: RunConfig,
    output: Path | None = None,
    command: Sequence[str] = (),
    *,
    resume: bool = False,
) -> Path:
    """Condense and score.

    An interrupted run of the same configuration goes on where it was; a finished one returns at
    once, unless it has not been scored as the configuration asks.

    Args:
        config: everything that decides the run.
        output: run directory (none: ``runs/<data>-<method>-ipc<n>-<hash>``).
        command: what the user typed, for the report.
        resume: refuse to begin a run that is not there.

    Returns:
        The run directory.

    Raises:
        DanceError: something the user can mend; nothing is half-written.
    """
    started = time.monotonic()
    directory = RunDirectory(output or default_place(config))
    if resume and not directory.begun():
        raise ArtifactError(
            f"--resume must find a run to go on with: there is none of these settings at "
            f"{directory.path}; name its directory with --output, or leave --resume out to begin"
        )
    setting = stage(config)
    initial = setting.initial()
    directory.claim(config)
    _write_environment(directory, setting, command)
    if not directory.condensed.exists():
        _condense(setting, initial, directory)
    score_run(setting, directory)
    if not directory.done.exists():
        spent = time.monotonic() - started
        write_json(directory.environment, read_json(directory.environment) | {"seconds": spent})
    directory.finish()
    return directory.path


def _condense(setting: Stage, initial: torch.Tensor, directory: RunDirectory) -> None:
    """Make the condensed set and store it beside its initial state."""
    method, config = setting.method, setting.config
    started = time.monotonic()
    found = setting.pool().ensure(config.experts.count) if method.needs_experts() else []
    if found:
        directory.add_costs(experts_seconds=sum(e.header["seconds"] for e in found))
        waited = directory.costs_so_far().get("experts_wait_seconds", 0.0)
        directory.add_costs(experts_wait_seconds=waited + time.monotonic() - started)
    started = time.monotonic()
    problem = setting.with_bank(setting.problem(initial, found))
    if problem.bank is not None:
        waited = directory.costs_so_far().get("bank_wait_seconds", 0.0)
        directory.add_costs(bank_wait_seconds=waited + time.monotonic() - started)
    if isinstance(method, Coreset):
        pixels = setting.train.images[method.select(problem)].float() / 255
    elif isinstance(method, Condenser):
        package(initial, setting).save(directory.initial)
        pixels = _iterate(method, problem, setting, directory)
    else:
        raise ConfigError(f"{config.method} must be a Condenser or a Coreset: got {method}")
    package(pixels, setting).save(directory.condensed)


def _iterate(
    method: Condenser, problem: Problem, setting: Stage, directory: RunDirectory
) -> torch.Tensor:
    """All iterations, from the checkpoint when there is one; returns the canvases."""
    state = method.setup(problem)
    checkpoints = _checkpoints(setting, directory)
    first, spent = _restore(state, checkpoints)
    directory.truncate_metrics(first)
    pending: list[tuple[int, Tensors]] = []
    started = logged = time.monotonic()
    name = f"condensing with {method.title}"
    with deferred_interrupt() as interrupt, track(name, method.iterations, "steps", first) as task:
        for iteration in range(first, method.iterations):
            losses = method.step(problem, state, iteration)
            pending.append((iteration, losses))
            now = time.monotonic()
            last = iteration + 1 == method.iterations
            save = checkpoints.due() or interrupt.requested
            if save or last or now - logged > _LOG_SECONDS:
                logged, seconds = now, spent + now - started
                task.note = _log(directory, pending, seconds)
                pending.clear()
            if save:
                checkpoints.save(iteration + 1, state, {"step": iteration + 1, "seconds": seconds})
            task.advance()
            if interrupt.requested:
                raise KeyboardInterrupt
    seconds = spent + time.monotonic() - started
    directory.add_costs(
        condense_seconds=seconds,
        seconds_per_step=seconds / method.iterations,
        peak_memory_bytes=devices.peak_memory(setting.device),
    )
    return state["pixels"]


def _log(directory: RunDirectory, pending: Sequence[tuple[int, Tensors]], seconds: float) -> str:
    """Append losses to the metrics; returns the last ones in words."""
    lines = []
    values: dict[str, float] = {}
    for iteration, losses in pending:
        values = {name: float(loss) for name, loss in losses.items()}
        if not all(map(math.isfinite, values.values())):
            raise ConfigError(
                f"losses must stay finite: got {values} at step {iteration}; lower the learning "
                "rate (--options.learning_rate) and choose another --output"
            )
        lines.append(json.dumps({"step": iteration, "seconds": round(seconds, 3), **values}) + "\n")
    try:
        with directory.metrics.open("a", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise ArtifactError(f"cannot write {directory.metrics}: {error.strerror}") from error
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _checkpoints(setting: Stage, directory: RunDirectory) -> Checkpoints:
    """Of the condensation, with what they must agree with."""
    stamp = {
        "config": identity(setting.config),
        "data_fingerprint": setting.train.fingerprint,
    }
    return Checkpoints(directory.checkpoints, "condense", stamp, instead="choose another --output")


def _restore(state: Tensors, checkpoints: Checkpoints) -> tuple[int, float]:
    """Load a checkpoint into ``state``; returns the next iteration and seconds spent so far."""
    if (held := checkpoints.latest()) is None:
        if checkpoints.numbers():
            log("none of the checkpoints is whole; starting from the first step")
        return 0, 0.0
    tensors, header = held
    for name, tensor in state.items():
        tensor.copy_(tensors[name])
    log(f"going on after step {header['step']}")
    return int(header["step"]), float(header["seconds"])


def _write_environment(directory: RunDirectory, setting: Stage, command: Sequence[str]) -> None:
    if directory.done.exists():
        return
    content = {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": devices.description(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "device": devices.description(setting.device),
        "precision": setting.config.precision,
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(directory.environment, content)
