"""Images per second of training and testing, by the reference and by the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from dance.bench.entries import EXACT, REFERENCE
from dance.bench.reference import ReferenceFit, plain_network, predict, standardised
from dance.bench.timing import Contestant, alternate, ratio, summary, timed
from dance.core.device import policy
from dance.core.rng import keyed_generator
from dance.data import load
from dance.engine.context import RunContext
from dance.engine.package import package
from dance.evaluation import PROTOCOLS
from dance.networks import State
from dance.training import Trainer, TrainerConfig, TrainingData
from dance.training import trainer as training

_LEAST = 0.2
"""Seconds that one sample lasts about."""
_MOST_STEPS = 64
_TESTED = 1024
"""Test images that are predicted in one go."""


def experts_and_tests(context: RunContext, rounds: int) -> list[dict[str, Any]]:
    """Rows of the training of experts, and of the testing of a network on unseen images."""
    train, config = context.train, context.config
    data = TrainingData(train.images, train.labels, train.mean, train.std)
    members = policy(context.device).together(config.experts.count)
    rows = [
        _training(context, "experts", data, config.experts, members, rounds),
    ]
    test = load(config.data, "test", config.source).to(context.device)
    some = replace(test, images=test.images[:_TESTED], labels=test.labels[:_TESTED])
    testing = TrainingData(some.images, some.labels, train.mean, train.std)
    state = _initial(context, 0)
    floats = standardised(replace(some, mean=train.mean, std=train.std), torch.float32)
    network = plain_network(context.network, floats)
    network.load_state_dict(state)
    found = _compare(
        {
            REFERENCE: lambda _: predict(network, floats),
            EXACT: lambda _: training.predict(
                context.network, state, testing, bfloat16=context.bfloat16
            ),
        },
        {REFERENCE: len(some.labels), EXACT: len(some.labels)},
        context.device,
        rounds,
    )
    rows.append(_row(context, "testing", found, ipc=None, members=1, batch=len(some.labels)))
    return rows


def evaluation(context: RunContext, rounds: int) -> dict[str, Any]:
    """Row of the training of evaluation networks, on the first stored images."""
    config, train, device = context.config, context.train, context.device
    protocol = PROTOCOLS.get(config.evaluation.protocol)
    condensed = package(context.initial(), context)
    images, targets = condensed.images().to(device), condensed.targets().to(device)
    data = TrainingData(images, targets, train.mean, train.std)
    fit = protocol.schedule(len(data), train.num_classes, train.resolution)
    repeats = config.evaluation.repeats or protocol.networks(train.resolution)
    members = policy(context.device).together(repeats)
    return _training(context, "evaluation", data, fit, members, rounds, ipc=context.config.ipc)


def _training(
    context: RunContext,
    what: str,
    data: TrainingData,
    config: TrainerConfig,
    members: int,
    rounds: int,
    ipc: int | None = None,
) -> dict[str, Any]:
    """SGD steps: one network after the other, and as many at once as the engine trains."""
    states = [_initial(context, member) for member in range(members)]
    seeds = list(range(members))
    fit = Trainer(context.network, states, data, config, seeds, bfloat16=context.bfloat16)
    literal = ReferenceFit(context.network, states[0], data, config, 0)
    size = min(config.batch_size, len(data))
    order = torch.randperm(len(data), generator=keyed_generator(0, "measured order"))
    batches = [rows.to(context.device) for rows in order.split(size) if len(rows) == size]

    def rows(number: int) -> torch.Tensor:
        """Of a step's batch."""
        batch: torch.Tensor = batches[number % len(batches)]
        return batch

    found = _compare(
        {
            REFERENCE: lambda number: literal.step(rows(number), number),
            EXACT: lambda number: fit.step(rows(number)[None].expand(members, -1), number),
        },
        {REFERENCE: size, EXACT: size * members},
        context.device,
        rounds,
    )
    return _row(context, what, found, ipc=ipc, members=members, batch=size)


def _compare(
    steps: Mapping[str, Callable[[int], object]],
    images: Mapping[str, int],
    device: torch.device,
    rounds: int,
) -> dict[str, list[float]]:
    """Images per second of each contestant by round.

    Args:
        steps: one step by its number.
        images: that each sees in a step.
        device: where they run.
        rounds: to measure.
    """

    def repeated(name: str, count: int) -> Contestant:
        def run(number: int) -> float:
            """Seconds of an image."""
            first = number * count

            def several() -> None:
                """Steps that are long enough together."""
                for step in range(first, first + count):
                    steps[name](step)

            return timed(several, device) / (count * images[name])

        return run

    contestants = {}
    for name, step in steps.items():
        step(0)
        once = timed(lambda step=step: step(1), device)  # type: ignore[misc]
        contestants[name] = repeated(name, max(2, min(_MOST_STEPS, math.ceil(_LEAST / once))))
    seconds = alternate(contestants, rounds)
    return {name: [1 / each for each in found] for name, found in seconds.items()}


def _row(
    context: RunContext, what: str, found: Mapping[str, Sequence[float]], **facts: Any
) -> dict[str, Any]:
    return {
        "what": what,
        "data": context.config.data,
        "name": context.train.name,
        **facts,
        "images_per_second": {name: summary(rates) for name, rates in found.items()},
        "times_reference": ratio(found[EXACT], found[REFERENCE]),
    }


def _initial(context: RunContext, member: int) -> State:
    state = context.network.initial(keyed_generator(0, "measured weights", member))
    return {name: tensor.to(context.device) for name, tensor in state.items()}
