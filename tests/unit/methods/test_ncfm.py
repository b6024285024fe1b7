"""NCFM against its equations and PyTorch's AdamW, one class after the other in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from dance.augment import siamese
from dance.core.errors import ConfigError, MissingExpertsError
from dance.core.rng import keyed_generator
from dance.data import load
from dance.data.sampler import ClassSampler
from dance.methods import CondensationTask
from dance.methods.ncfm import NCFM, NCFMConfig, NCFMState
from dance.networks import NetworkConfig
from dance.objectives.characteristic import characteristic, characteristic_distance
from unit.methods import literal
from unit.methods.tasks import image_set, task
from unit.methods.test_class_ranges import owned

SHORT: dict[str, Any] = {"frequencies": 24, "real_batch": 5, "learning_rate": 0.02}


def distance(
    real: torch.Tensor, synthetic: torch.Tensor, t: torch.Tensor, options: NCFMConfig
) -> torch.Tensor:
    """300 mean sqrt(a amp + b pha), by complex exponentials."""
    p, q = (torch.exp(1j * (f @ t.T)).mean(0) for f in (real, synthetic))
    amplitude = (p.abs() - q.abs()) ** 2
    turned = 2 * (p.abs() * q.abs() - (p * q.conj()).real)
    turned = torch.where(turned > 1e-12, turned, torch.full_like(turned, 1e-12))
    return 300 * (options.amplitude * amplitude + options.phase * turned).sqrt().mean()


class Literal:
    """The program, with ``torch.optim`` and PyTorch's plateau schedule."""

    def __init__(self, given: CondensationTask, options: NCFMConfig, norm: str) -> None:
        self.given, self.options, self.norm = given, options, norm
        self.classes, self.losses = given.train.num_classes, list[dict[str, float]]()
        self.mean, self.std = (
            torch.tensor(part, dtype=torch.float64).view(-1, 1, 1)
            for part in (given.train.normalization.mean, given.train.normalization.std)
        )
        self.pixels = torch.nn.Parameter(given.initial.double().clone())
        rate = options.learning_rate
        self.optimiser: torch.optim.Optimizer
        if options.optimiser == "adamw":
            self.optimiser = torch.optim.AdamW(
                [self.pixels], lr=rate, weight_decay=options.weight_decay
            )
        else:
            self.optimiser = torch.optim.SGD([self.pixels], lr=rate, momentum=options.momentum)
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=0.5, patience=options.patience
        )
        self.rates: list[float] = []
        self.layers: list[torch.nn.Module] = []
        if options.sampling == "learned":
            self.sampler(given.network.embedding_size)

    def sampler(self, size: int) -> None:
        """The network of the paper, filled with the numbers that the library draws."""
        generator = keyed_generator(self.given.seed, "sampler")
        bound = 1 / math.sqrt(size)
        for block in range(3):
            linear = torch.nn.Linear(size, size, dtype=torch.float64, device="meta").to_empty(
                device="cpu"
            )
            for part in (linear.weight, linear.bias):
                drawn = torch.empty(part.shape).uniform_(-bound, bound, generator=generator)
                part.data.copy_(drawn)
            norm = torch.nn.BatchNorm1d(size, dtype=torch.float64)
            last = torch.nn.Tanh() if block == 2 else torch.nn.LeakyReLU(0.2)
            self.layers += [linear, norm, last]
        parameters = [p for layer in self.layers for p in layer.parameters()]
        self.ascent = torch.optim.SGD(
            parameters,
            lr=self.options.sampler_learning_rate,
            momentum=self.options.sampler_momentum,
            maximize=True,
        )

    def frequencies(self, iteration: int) -> torch.Tensor:
        size = self.given.network.embedding_size
        generator = keyed_generator(self.given.seed, "frequencies", iteration)
        t = torch.randn(self.options.frequencies, size, generator=generator).double()
        if self.options.sampling == "normal":
            return t
        count = self.options.frequencies // 16
        scale = torch.randn(count, size, generator=generator).double()
        for layer in self.layers:
            scale = layer(scale)
        return torch.cat([scale] * 16) * t

    def run(self, iterations: int) -> None:
        given, options, train = self.given, self.options, self.given.train
        sampler = ClassSampler(train, options.real_batch, given.seed)
        for iteration in range(iterations):
            generator = keyed_generator(given.seed, "encoder", iteration)
            initial, expert = given.experts[
                int(torch.randint(len(given.experts), (), generator=generator))
            ]
            share = float(torch.rand((), generator=generator))
            encoder = {n: share * initial[n] + (1 - share) * expert[n] for n in expert}
            t = self.frequencies(iteration)
            with torch.no_grad():
                self.pixels.clamp_(0, 1)
            logged: dict[str, float] = {}
            rising = torch.zeros((), dtype=torch.float64)
            passes = ["matching", *(["calibration"] if options.calibration_weight else [])]
            for number, name in enumerate(passes):
                generator = keyed_generator(given.seed, "augment", 2 * iteration + number)
                drawn = siamese.draw(
                    options.augmentation, self.classes, train.resolution, generator
                )
                losses = []
                for c in range(self.classes):
                    own = self.pixels[c * given.ipc : (c + 1) * given.ipc]
                    synthetic = (literal.decode(own, given.decoder.factor) - self.mean) / self.std
                    if name == "matching":
                        rows = sampler.rows(c, iteration)
                        if options.real == "first":
                            rows = train.rows(c)[: options.real_batch or None]
                        stored = train.images[rows].double() / 255
                        both = torch.cat([(stored - self.mean) / self.std, synthetic])
                        found = literal.features(
                            encoder, literal.augment(both, drawn, c), self.norm
                        )
                        found = found / (found**2).sum(1, keepdim=True).sqrt()
                        real, fake = found[: len(rows)].detach(), found[len(rows) :]
                        loss = distance(real, fake, t.detach(), options)
                        rising = rising + distance(real, fake.detach(), t, options) / self.classes
                    else:
                        maps = literal.features(
                            expert, literal.augment(synthetic, drawn, c), self.norm
                        )
                        logits = maps @ expert["classifier.weight"].T + expert["classifier.bias"]
                        loss = (logits.logsumexp(1) - logits[:, c]).mean()
                    losses.append(loss)
                    weight = options.calibration_weight if name == "calibration" else 1.0
                    if options.steps == "per_class":
                        self.optimiser.zero_grad()
                        (weight * loss).backward()
                        self.optimiser.step()
                if options.steps == "joint":
                    self.optimiser.zero_grad()
                    (weight * torch.stack(losses).sum()).backward()
                    self.optimiser.step()
                logged[name] = float(torch.stack(losses).detach().mean())
            if options.sampling == "learned":
                self.ascent.zero_grad()
                rising.backward()
                self.ascent.step()
            total = logged["matching"]
            total += options.calibration_weight * logged.get("calibration", 0.0)
            if options.patience:
                self.schedule.step(total * self.classes)
            self.rates.append(self.optimiser.param_groups[0]["lr"])
            self.losses.append(logged)


def run(
    given: CondensationTask, iterations: int, **options: Any
) -> tuple[NCFMState, list[dict[str, float]]]:
    method = NCFM(NCFMConfig(**options))
    made, losses = method.start(given), []
    for iteration in range(iterations):
        found = made.step(iteration)
        losses.append({name: float(loss) for name, loss in found.items()})
    return made.state, losses


def check(
    given: CondensationTask, iterations: int = 3, norm: str = "instance", **changes: Any
) -> tuple[Literal, NCFMState]:
    options = {**SHORT, **changes}
    expected = Literal(given, NCFMConfig(**options), norm)
    expected.run(iterations)
    state, losses = run(given, iterations, **options)
    torch.testing.assert_close(state.pixels, expected.pixels.detach(), rtol=1e-9, atol=1e-9)
    for found, wanted in zip(losses, expected.losses, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)
    moved = (expected.pixels.detach() - given.initial).abs().flatten(1).amax(1)
    assert bool((moved > 1e-3).all())  # every stored image
    return expected, state


@pytest.mark.parametrize(("ipc", "factor"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("real", ["first", "random"])
def test_released_dynamics(ipc: int, factor: int, real: str) -> None:
    """Classes of 7, 12 and 4 images in batches of 5: one is smaller than a batch."""
    check(task(ipc, factor), real=real)


def test_real_digits() -> None:
    check(task(1, 1, train=load("digits", "train")), 2, real_batch=12)


def test_batch_norm_uses_the_experts_statistics() -> None:
    check(task(1, 1, network=NetworkConfig(width=6, depth=2, norm="batch")), norm="batch")


@pytest.mark.parametrize("steps", ["per_class", "joint"])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_every_optimiser(steps: str, optimiser: str) -> None:
    rate = 0.02 if optimiser == "adamw" else 0.003
    check(task(1, 1), steps=steps, optimiser=optimiser, learning_rate=rate, weight_decay=0.3)


@pytest.mark.parametrize("weights", [(0.9, 0.1), (0.001, 0.999)])
def test_amplitude_and_phase(weights: tuple[float, float]) -> None:
    check(task(2, 1), amplitude=weights[0], phase=weights[1], calibration_weight=0.0)


def test_the_rate_falls_when_the_loss_does_not() -> None:
    """After more than ``patience`` iterations without a lower sum over classes, twice here."""
    expected, state = check(task(1, 1), 9, patience=1)
    assert len(set(expected.rates)) >= 2
    assert float(state.pixel_rate) == expected.rates[-1]
    _, state = check(task(1, 1), 3, patience=0)
    assert float(state.pixel_rate) == SHORT["learning_rate"]


def test_learned_frequencies_rise_by_a_gradient_of_their_own() -> None:
    expected, state = check(
        task(2, 1), sampling="learned", frequencies=48, sampler_learning_rate=0.05
    )
    parameters = [p.detach() for layer in expected.layers for p in layer.parameters()]
    flat = torch.cat([p.flatten() for p in parameters])
    torch.testing.assert_close(state.sampler, flat, rtol=1e-9, atol=1e-9)
    began = NCFM(NCFMConfig(**SHORT | {"sampling": "learned", "frequencies": 48})).start(task(2, 1))
    assert float((state.sampler - began.state.sampler).abs().max()) > 1e-5


def test_equal_weights_make_it_the_modulus_of_the_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    real, synthetic, t = (
        functional.normalize(torch.randn(n, 7, generator=generator, dtype=torch.float64))
        for n in (9, 4, 20)
    )
    found = characteristic_distance(characteristic(real, t), characteristic(synthetic, t), 0.5, 0.5)
    p, q = (torch.exp(1j * (f @ t.T)).mean(0) for f in (real, synthetic))
    torch.testing.assert_close(found, math.sqrt(0.5) * (p - q).abs().mean())
    same = characteristic_distance(characteristic(real, t), characteristic(real, t), 0.5, 0.5)
    assert float(same) < 1e-6


def test_a_steady_gradient_moves_a_class_by_the_root_of_the_number_of_classes() -> None:
    """What the sheet has of the released optimiser, per pass over 10 classes: 3.16 rates."""
    from dance.methods.toolkit.classwise_adamw import ClassAdamW

    pixels, first, second = torch.zeros(3, 10, 1, 1, 1, dtype=torch.float64).unbind()
    gradient = torch.ones_like(pixels)
    places, updates = [], torch.zeros((), dtype=torch.int64)
    optimiser = ClassAdamW(pixels, (first, second), 10, 0.001, 0.0, updates)
    for _ in range(400):
        optimiser.before()
        optimiser.step(gradient)
        optimiser.after()
        places.append(-float(pixels.mean()))
    assert (places[-1] - places[-101]) / 100 == pytest.approx(0.001 * math.sqrt(10), rel=0.02)
    assert int(updates) == 4000


def test_processes_together_make_the_synthetic_of_one_at_a_constant_rate() -> None:
    """The released schedule needs all losses, so classes couple unless it is off."""
    assert NCFM(NCFMConfig()).couples(task().network)
    assert not NCFM(NCFMConfig(patience=0)).couples(task().network)
    train = image_set((30, 40, 36, 29))
    given, options = task(2, 2, train=train, chunk=1), {**SHORT, "patience": 0}
    whole, _ = run(given, 3, **options)
    parts = []
    for classes in (range(0, 1), range(1, 4)):
        rows = slice(2 * classes.start, 2 * classes.stop)
        own = replace(
            given, train=train.only(classes), initial=given.initial[rows], classes=classes
        )
        parts.append(run(own, 3, **options)[0].pixels)
    torch.testing.assert_close(torch.cat(parts), whole.pixels, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("patience", [0, 1])
def test_the_state_is_finite_as_a_checkpoint_must_be(patience: int) -> None:
    made = NCFM(NCFMConfig(**SHORT, patience=patience)).start(task(dtype=torch.float32))
    for iteration in range(2):
        assert all(bool(tensor.isfinite().all()) for tensor in made.state.tensors().values())
        made.step(iteration)


def test_a_process_without_classes_takes_part_with_nothing() -> None:
    given = owned(task(2, 2, train=image_set((30, 40, 36))), range(3, 3))
    for real in ("first", "random"):
        state, losses = run(given, 2, **SHORT, patience=0, real=real)
        assert state.pixels.shape == (0, 3, 8, 8)
        assert all(loss == 0 for row in losses for loss in row.values())


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="must be a multiple of 16 from 32 on"):
        NCFM(NCFMConfig(sampling="learned", frequencies=40))
    with pytest.raises(MissingExpertsError, match="NCFM needs at least one expert: got none"):
        NCFM(NCFMConfig()).start(task(experts=0))


def test_defaults_are_those_of_the_released_code() -> None:
    config = NCFMConfig()
    assert (config.iterations, config.optimiser, config.learning_rate) == (20_000, "adamw", 0.001)
    assert (config.real_batch, config.frequencies, config.calibration_weight) == (1024, 4096, 1.0)
