"""MTT against autograd through all steps in float64, and what a step keeps of its graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from dance.augment import single
from dance.core.errors import MissingExpertsError
from dance.core.rng import keyed_generator
from dance.data import load
from dance.kernels import plain_operations
from dance.kernels.library import library
from dance.methods import METHODS, CondensationTask
from dance.networks import NetworkConfig
from unit.methods.tasks import task, trajectories

DSA = "color_crop_cutout_flip_scale_rotate"
CLASSES = 10


def given(
    ipc: int = 1,
    factor: int = 1,
    *,
    norm: str = "instance",
    chunk: int = CLASSES,
    dtype: torch.dtype = torch.float64,
    epochs: int = 4,
    width: int = 6,
) -> CondensationTask:
    """Real digits on the stored images, and two made-up networks that move a little every epoch."""
    train = load("digits", "train")
    shape = NetworkConfig(width=width, depth=2, norm=norm)  # type: ignore[arg-type]
    bare = task(ipc, factor, train=train, network=shape, experts=0, chunk=chunk, dtype=dtype)
    rows = torch.cat([train.rows(label)[:ipc] for label in range(CLASSES)])
    images = train.images[rows].to(dtype) / 255
    mean, std = (
        torch.tensor(v, dtype=dtype).view(-1, 1, 1)
        for v in (train.normalization.mean, train.normalization.std)
    )
    held = trajectories(bare.network, 2, epochs, dtype)
    return replace(bare, initial=(images - mean) / std, trajectories=held)


def mtt(**options: Any) -> Any:
    settings = {"student_steps": 4, "start_epochs": 3, "step_size": 0.05, **options}
    kind = METHODS.get("mtt")
    return kind(kind.Config(**settings))


def unrolled(method: Any, given: CondensationTask, iteration: int) -> tuple[torch.Tensor, ...]:
    """Loss and its derivatives for the pixels and the step size, all steps in one graph."""
    config, seed = method.config, given.seed
    generator = keyed_generator(seed, "start epoch", iteration)
    start = int(torch.randint(config.start_epochs, (), generator=generator))
    order = torch.randperm(2, generator=keyed_generator(seed, "experts", iteration // 2))
    snapshots = given.trajectories.snapshots[order[iteration % 2]]  # type: ignore[union-attr]
    first, target = snapshots[start], snapshots[start + config.expert_epochs]
    network = given.network.train()
    shapes = dict(network.named_parameters())

    pixels = given.initial.clone().requires_grad_()
    rate = given.initial.new_tensor(config.step_size).requires_grad_()
    if given.decoder.factor > 1:
        train = given.train
        mean, std = (
            torch.tensor(v, dtype=pixels.dtype).view(-1, 1, 1)
            for v in (train.normalization.mean, train.normalization.std)
        )
        images = (given.decoder.decode(pixels * std + mean) - mean) / std
    else:
        images = pixels
    labels = torch.arange(CLASSES).repeat_interleave(len(images) // CLASSES)
    student, left = first.clone().requires_grad_(), torch.empty(0, dtype=torch.int64)
    size = config.student_batch or len(images)
    for number in range(config.student_steps):
        if not len(left):
            generator = keyed_generator(seed, "student order", iteration, number)
            left = torch.randperm(len(images), generator=generator)
        last = len(left) % size or size
        left, rows = left[:-last], left[-last:]
        batch = images[rows]
        if config.augmentation:
            generator = keyed_generator(seed, "student augment", iteration, number)
            drawn = single.draw(
                config.augmentation, len(rows), given.train.resolution, generator, shared=True
            )
            batch = single.apply(batch, drawn)
        parts = student.split([p.numel() for p in shapes.values()])
        state = {
            name: part.view(shapes[name].shape) for name, part in zip(shapes, parts, strict=True)
        }
        for name, buffer in network.named_buffers():
            kind = pixels.dtype if buffer.is_floating_point() else buffer.dtype
            state[name] = torch.zeros(buffer.shape, dtype=kind)
        loss = functional.cross_entropy(functional_call(network, state, (batch,)), labels[rows])
        (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
        student = student - rate * gradient
    loss = ((student - target) ** 2).sum() / ((first - target) ** 2).sum()
    return (loss.detach(), *torch.autograd.grad(loss, [pixels, rate]))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = float(expected.abs().max())
    assert scale > 0
    assert float((found - expected).abs().max()) <= 1e-9 * scale


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        pytest.param({}, {"augmentation": ""}, id="plain"),
        pytest.param({"ipc": 2, "chunk": 3}, {"student_steps": 5}, id="in parts"),
        pytest.param(
            {"ipc": 2, "chunk": 1}, {"student_batch": 8, "student_steps": 5}, id="mini-batches"
        ),
        pytest.param({"ipc": 1, "factor": 2, "chunk": 4}, {"student_batch": 16}, id="decoded"),
        pytest.param({"norm": "batch", "chunk": 1}, {"student_steps": 3}, id="batch norm"),
    ],
)
def test_a_step_is_that_of_the_unrolled_loop(
    settings: dict[str, Any], options: dict[str, Any]
) -> None:
    task = given(**settings)
    method = mtt(momentum=0.5, learning_rate=1e-3, step_size_learning_rate=1e-4, **options)
    made = method.start(task)
    rate = float(made.state.learning_rate)
    for iteration in (0, 1):
        before = {name: tensor.clone() for name, tensor in made.state.tensors().items()}
        now = replace(task, initial=before["pixels"])
        at = mtt(**{**options, "step_size": float(before["learning_rate"])})
        loss, pixels, slope = unrolled(at, now, iteration)
        losses = made.step(iteration)
        close(losses["trajectory"], loss)
        assert float(losses["learning_rate"]) == float(before["learning_rate"])
        close(made.state.velocity - 0.5 * before["velocity"], pixels)
        close(made.state.learning_rate_velocity - 0.5 * before["learning_rate_velocity"], slope)
        close(made.state.pixels, before["pixels"] - 1e-3 * made.state.velocity)
        close(
            made.state.learning_rate,
            before["learning_rate"] - 1e-4 * made.state.learning_rate_velocity,
        )
    assert float(made.state.learning_rate) != rate


def test_a_student_that_takes_no_step_has_loss_one() -> None:
    task, method = given(), mtt(student_steps=0)
    made = method.start(task)
    losses = made.step(0)
    assert float(losses["trajectory"]) == 1
    assert torch.equal(made.state.pixels, task.initial)
    assert not made.state.velocity.any()
    assert not made.state.learning_rate_velocity.any()


def test_mini_batches_are_taken_from_the_end_of_an_order_the_smaller_one_first() -> None:
    task = given(2)
    method = mtt(student_batch=8, student_steps=7)
    batches = method.start(task)._batches(5)
    assert [len(batch.rows) for batch in batches] == [4, 8, 8, 4, 8, 8, 4]
    for first in (0, 3):
        rows = torch.cat([batch.rows for batch in batches[first : first + 3]])
        assert sorted(rows.tolist()) == list(range(20))
    assert not torch.equal(batches[0].rows, batches[3].rows)
    assert all(torch.equal(batch.labels, batch.rows // 2) for batch in batches)


class Kept:
    """Bytes that autograd keeps for backward passes, now and at most."""

    now = most = 0

    class Tensor:
        def __init__(self, owner: Kept, tensor: torch.Tensor) -> None:
            self.owner, self.tensor = owner, tensor
            owner.now += tensor.nbytes
            owner.most = max(owner.most, owner.now)

        def __del__(self) -> None:
            self.owner.now -= self.tensor.nbytes


def kept_by(chunk: int, **options: Any) -> int:
    task = given(2, chunk=chunk, dtype=torch.float32)
    method, kept = mtt(augmentation="color", **options), Kept()
    made = method.start(task)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: Kept.Tensor(kept, tensor), lambda held: held.tensor
    ):
        made.step(0)
    return kept.most


def test_memory_grows_neither_with_steps_nor_with_the_mini_batch() -> None:
    few, many = (kept_by(CLASSES, student_steps=steps) for steps in (2, 8))
    assert many <= 1.1 * few
    assert kept_by(1, student_steps=2) < 0.25 * few


def test_carried_derivatives_stand_for_second_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernel of a block no step of the student has a graph of second order."""
    if library() is None:
        pytest.skip("the kernels are not built here")
    task = given(2, dtype=torch.float32, width=32)
    method = mtt(augmentation="color", student_steps=3)
    found = []
    for plain in (True, False):
        made = method.start(task)
        if plain:
            with plain_operations():
                losses = made.step(0)
        else:
            monkeypatch.setattr("dance.methods.mtt.plain_operations", None)
            losses = made.step(0)
        found.append((losses["trajectory"].item(), made.state.velocity, made.state.learning_rate))
    (exact, slopes, rate), (mine, ours, own) = found
    assert mine == pytest.approx(exact, rel=1e-5)
    assert slopes.any() and (ours - slopes).abs().max() < 1e-3 * slopes.abs().max()
    torch.testing.assert_close(own, rate, rtol=1e-5, atol=0)


@pytest.mark.parametrize("epochs", [None, 3])
def test_too_short_or_missing_trajectories_are_refused(epochs: int | None) -> None:
    task = given(epochs=epochs or 4)
    if epochs is None:
        task = replace(task, trajectories=None)
    with pytest.raises(MissingExpertsError, match="at least 4 epochs"):
        mtt().start(task)
