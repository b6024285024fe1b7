"""An estimate of the cost of a run, from a few measured steps of each phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from dance.core import device as devices
from dance.core.rng import keyed_generator
from dance.data import load
from dance.engine.config import RunConfig
from dance.engine.context import RunContext, named_network, network_for, prepare
from dance.engine.package import package
from dance.engine.portable import need_images
from dance.engine.relabel import CHOICE
from dance.evaluation import PROTOCOLS
from dance.experts import Expert, ExpertConfig
from dance.experts.trajectories import untrained
from dance.methods import Banked, Condenser
from dance.networks import Network, State
from dance.training import Trainer, TrainerConfig, TrainingData
from dance.training.trainer import predict

_STEPS = 3
_MAX_SECONDS = 10.0
"""Seconds after which no further step of a phase is timed."""
_TEST_IMAGES = 512
"""Images of one timed step of prediction."""


def estimate(config: RunConfig) -> dict[str, Any]:
    """Estimate time, memory and disk space of a run.

    A few steps of each phase are timed on the real data, after one to warm up; fewer if they are
    long. Experts and entries of a bank that exist are not counted.

    Returns:
        ``phases`` (``name``, ``seconds``, ``steps``, ``seconds_per_step``), ``seconds`` in total,
        ``peak_memory_bytes``, ``disk_bytes`` and ``measured``, a description of what was timed.

    Raises:
        DanceError: the data cannot be used, or a setting does not fit it.
    """
    need_images(config.data, "an estimate")
    context = prepare(config)
    initial = context.initial()
    phases = []
    state_bytes = 4 * context.network.parameter_count()
    missing = context.missing_experts()
    if context.method.needs_experts() or "whole" in config.evaluation.baselines:
        phases.append(_training(context, "experts", missing, config.experts))
    snapshots = 0
    if context.method.trajectory_epochs():
        training = config.trajectories
        count = context.trajectory_pool().store.missing(training.count)
        phases.append(_training(context, "trajectories", count, training))
        snapshots = count * (training.epochs + 1)
    if isinstance(context.method, Condenser):
        phases += _condense(context, context.method, initial)
    elif context.method.needs_experts():
        phases.append(_features(context))
    if config.labels == "soft":
        phases += _labels(context, initial)
    phases += _evaluate(context, initial)
    return {
        "phases": phases,
        "seconds": sum(phase["seconds"] for phase in phases),
        "peak_memory_bytes": devices.peak_memory(context.device),
        "disk_bytes": 3 * initial.numel() * 4 + (2 * missing + snapshots) * state_bytes,
        "measured": f"up to {_STEPS} steps of each phase on {devices.description(context.device)}",
    }


def _phase(
    name: str, steps: int, step: Callable[[int], object], device: torch.device
) -> dict[str, Any]:
    """Time ``step(i)`` after one call to warm up."""
    seconds = 0.0
    if steps:
        step(0)
        _wait(device)
        started, timed = time.monotonic(), 0
        while timed < _STEPS and time.monotonic() - started < _MAX_SECONDS:
            timed += 1
            step(timed)
        _wait(device)
        seconds = (time.monotonic() - started) / timed
    return {"name": name, "seconds": seconds * steps, "steps": steps, "seconds_per_step": seconds}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _training(context: RunContext, name: str, count: int, config: ExpertConfig) -> dict[str, Any]:
    """Training of ``count`` networks on the real images."""
    train = context.train
    data = TrainingData(train.images, train.labels, train.normalization)
    steps = count * config.epochs * -(-len(train.labels) // config.batch_size)
    step = _sgd_step(context, context.network, data, config)
    return _phase(name, steps, step, context.device)


def _initial(context: RunContext, network: Network) -> State:
    state = network.initial(keyed_generator(0, "estimate"))
    return {name: tensor.to(context.device) for name, tensor in state.items()}


def _sgd_step(
    context: RunContext, network: Network, data: TrainingData, config: TrainerConfig
) -> Callable[[int], object]:
    """One SGD step of one network on ``data``."""
    state = _initial(context, network)
    trainer = Trainer(network, [state], data, config, [0], bfloat16=context.bfloat16)
    rows = torch.arange(min(config.batch_size, len(data)), device=context.device)[None]
    return lambda number: trainer.step(rows, number)


def _condense(
    context: RunContext, method: Condenser, initial: torch.Tensor
) -> list[dict[str, Any]]:
    """Steps with untrained experts, with which they take the same time."""
    states = [
        context.network.initial(keyed_generator(0, "estimate", number)) for number in range(2)
    ]
    expert = Expert(0, states[0], states[1], {}, Path(), trained_now=False)
    task = context.task(initial, [expert] if method.needs_experts() else [])
    if epochs := method.trajectory_epochs():
        task = replace(task, trajectories=untrained(context.network, epochs))
    phases, device = [], context.device
    if isinstance(method, Banked) and (count := method.bank_draws()):
        missing = max(0, count - context.bank(method).finished()[0])
        entry = method.bank_entries(task)
        phases.append(_phase("bank of real features", missing, entry, device))
        shape = (count, len(task.classes), context.network.embedding_size)
        task = replace(task, bank=torch.zeros(shape, device=device))
    name, condensation = f"condensing with {method.title}", method.start(task)
    return [*phases, _phase(name, method.iterations, condensation.step, device)]


def _features(context: RunContext) -> dict[str, Any]:
    """The features for a selection: one forward pass of every real image."""
    train = context.train
    some = TrainingData(
        train.images[:_TEST_IMAGES], train.labels[:_TEST_IMAGES], train.normalization
    )
    state = _initial(context, context.network)
    predict_some = partial(predict, context.network, state, some, bfloat16=context.bfloat16)
    name, steps = f"features for {context.method.title}", -(-len(train.labels) // len(some))
    return _phase(name, steps, lambda _: predict_some(), context.device)


def _labels(context: RunContext, initial: torch.Tensor) -> list[dict[str, Any]]:
    """Training of the teachers, including existing ones, and of the students that compare them.

    The final teachers are assumed to be trained for the largest number of epochs.
    """
    config, train, device = context.config, context.train, context.device
    data = TrainingData(train.images, train.labels, train.normalization)
    tried = config.teacher.tried(config.experts.epochs)
    lengths = sorted({epochs for epochs, _ in tried})
    epochs = lengths[-1] + (sum(lengths) if len(tried) > 1 else 0)
    steps = config.teacher.count * epochs * -(-len(data) // config.experts.batch_size)
    step = _sgd_step(context, context.network, data, config.experts)
    phases = [_phase("teachers of soft labels", steps, step, device)]
    if len(tried) > 1:
        condensed = package(initial, context)
        images, targets = condensed.images().to(device), condensed.targets().to(device)
        soft = functional.one_hot(targets, train.num_classes).float()
        learned = TrainingData(images, targets, targets=soft)
        protocol = PROTOCOLS.get(CHOICE)
        schedule = protocol.schedule(len(targets), train.num_classes, train.resolution)
        steps = (config.teacher.epochs or schedule.epochs) * -(-len(targets) // schedule.batch_size)
        steps *= len(tried) * config.teacher.students
        student = _sgd_step(context, context.network, learned, schedule)
        phases.append(_phase("choosing soft labels", steps, student, device))
    return phases


def _evaluate(context: RunContext, initial: torch.Tensor) -> list[dict[str, Any]]:
    """Training and testing of every network; each baseline counts as another set."""
    config, train, device = context.config, context.train, context.device
    protocol = PROTOCOLS.get(config.evaluation.protocol)
    condensed = package(initial, context)
    images, targets = condensed.images().to(device), condensed.targets().to(device)
    data = TrainingData(images, targets)
    schedule = protocol.schedule(len(data), train.num_classes, train.resolution)
    schedule = replace(schedule, epochs=config.evaluation.epochs or schedule.epochs)
    repeats = config.evaluation.repeats or protocol.networks(train.resolution)
    test = load(config.data, "test", config.source).to(device)
    some = TrainingData(test.images[:_TEST_IMAGES], test.labels[:_TEST_IMAGES], train.normalization)
    baselines = sum(name != "whole" for name in config.evaluation.baselines)
    tests = len(protocol.test_epochs(schedule.epochs, train.resolution))
    tests *= -(-len(test.labels) // len(some))
    phases = []
    for place, name in enumerate(config.networks):
        network = network_for(named_network(name, config.network, protocol.norm), train)
        sets = repeats * (1 + (baselines if place == 0 else 0))
        steps = sets * schedule.epochs * -(-len(data) // schedule.batch_size)
        trained = _sgd_step(context, network, data, schedule)
        phases.append(_phase(f"scoring {name}: training", steps, trained, device))
        state = _initial(context, network)
        tested = partial(predict, network, state, some, bfloat16=context.bfloat16)
        phases.append(_phase(f"scoring {name}: testing", sets * tests, lambda _: tested(), device))  # noqa: B023
    return phases
