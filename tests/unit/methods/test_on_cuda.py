"""DANCE on a GPU: the host never waits for it inside a step, and the numbers are the CPU's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dance.methods import CondensationTask
from dance.methods.dance import DANCE, DANCEConfig
from unit.methods.tasks import image_set, task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"synthetic_cap": 3, "steps": "joint", "calibration_mean": "set"},
    {"augmentation": "flip_color_crop_scale_rotate_cutout"},
    {"real_targets": "bank", "bank_draws": 3},
    {"encoder": "random"},
]


def moved(given: CondensationTask, device: str) -> CondensationTask:
    place = torch.device(device)
    experts = tuple(
        tuple({name: tensor.to(place) for name, tensor in state.items()} for state in pair)
        for pair in given.experts
    )
    initial, train = given.initial.to(place), given.train.to(place)
    return replace(given, train=train, initial=initial, experts=experts)  # type: ignore[arg-type]


def run(given: CondensationTask, steps: int, quiet_from: int, **options: Any) -> torch.Tensor:
    method = DANCE(DANCEConfig(**{"real_batch": 20, **options}))
    if method.bank_draws():
        entries = map(method.bank_entries(given), range(method.bank_draws()))
        given = replace(given, bank=torch.stack([*entries]))
    made = method.start(given)
    try:
        for iteration in range(steps):
            if iteration == quiet_from:
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("error")
            made.step(iteration)
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.set_sync_debug_mode("default")
    return made.state.pixels.cpu()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_step_waits_for_the_device(options: dict[str, Any]) -> None:
    """Two classes have fewer images than a batch, and passes over the data end meanwhile."""
    train = image_set((50, 12, 61, 9))
    given = moved(task(2, 2, train=train, dtype=torch.float32, chunk=3), "cuda")
    run(given, 8, quiet_from=2, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_numbers_are_those_of_the_cpu(options: dict[str, Any]) -> None:
    given = task(2, 2, train=image_set((50, 12, 61, 9)), chunk=3)
    here = run(given, 4, quiet_from=-1, **options)
    there = run(moved(given, "cuda"), 4, quiet_from=-1, **options)
    torch.testing.assert_close(there, here, rtol=1e-9, atol=1e-9)
