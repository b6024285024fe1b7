"""Code from outside the package: what it makes is not mixed, and what it may not do is refused."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dance
from dance.augment.operation import OPERATIONS, Operation, outside_operations
from dance.condensed.decoders import Decoder
from dance.core.errors import ConfigError, DataError
from dance.core.rng import keyed_generator
from dance.data import load
from dance.data.sources import SOURCES
from dance.engine.config import build_run
from dance.engine.context import prepare
from dance.engine.loop import _check_begun, _check_losses, _checkpoints
from dance.engine.rundir import RunDirectory
from dance.evaluation.protocol import Protocol
from dance.experts import ExpertConfig, ExpertPool, NetworkTraining
from dance.methods import METHODS, Condenser, Coreset
from dance.networks import NETWORKS, Network, NetworkConfig, build
from dance.training import Trainer, TrainerConfig
from unit.methods.tasks import task
from unit.training.blobs import blobs, training

NETWORK = """
from dance.networks.protocol import NETWORKS, Network
from torch import nn


class Own(Network):
    def __init__(self, channels, resolution, classes):
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Sequential(ACTIVATION, nn.AvgPool2d(2))])
        self.embedding_size = 4 * (resolution // 2) ** 2
        self.classifier = nn.Linear(self.embedding_size, classes)


@NETWORKS.register("own")
def own(config, channels, resolution, classes):
    return Own(channels, resolution, classes)
"""
OPERATION = """
import dance
from dance.augment.operation import OPERATIONS, Operation


@OPERATIONS.register("dim")
class Dim(Operation):
    @staticmethod
    def draw(count, resolution, generator):
        return generator.initial_seed()

    @staticmethod
    def apply(images, parameters):
        return images * FACTOR
"""
SHADES = """
from pathlib import Path

import numpy as np
from dance.data.arrays import Arrays
from dance.data.sources import SOURCES, Layout


def open_shades(location, config):
    levels = np.array(Path(location).read_text().split(), np.uint8)
    images = SIGN * levels[:, None, None].repeat(8, 1).repeat(8, 2)
    labels = np.arange(len(levels)) % 2
    files = [Path(location)] if location.endswith(".kept_shades") else []
    return Arrays("shades", ("a", "b"), {"train": (images, labels)}, files)


SOURCES.register("shades")(
    Layout("shades", lambda location: location.endswith("_shades"), open_shades)
)
"""


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone afterwards."""
    for registry in (NETWORKS, OPERATIONS, SOURCES, METHODS):
        registry.names()
        monkeypatch.setattr(registry, "_members", dict(registry._members))
    monkeypatch.setitem(sys.modules, "theirs", None)  # taken out again


def imported(folder: Path, text: str) -> Any:
    """A module outside the package, as it is after an edit: its members replace those before."""
    for registry, name in ((NETWORKS, "own"), (OPERATIONS, "dim"), (SOURCES, "shades")):
        registry._members.pop(name, None)
    path = folder / "theirs.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("theirs", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["theirs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pool(name: str, directory: Path, augmentation: str = "flip") -> Path:
    """Where the experts of a network are kept."""
    shape = NetworkConfig(name=name, width=4, depth=1)
    config = ExpertConfig(epochs=2, batch_size=8, count=1, augmentation=augmentation)
    made = NetworkTraining(blobs(20), build(shape, 3, 8, 3), shape, config, 0)
    return ExpertPool(made, directory=directory).store.directory


def test_experts_of_a_network_that_is_edited_are_not_those_before(tmp_path: Path) -> None:
    found = []
    for activation in ("nn.ReLU()", "nn.ReLU( )", "nn.Sigmoid()"):
        imported(tmp_path, NETWORK.replace("ACTIVATION", activation))
        found.append(pool("own", tmp_path))
    assert found[0] == found[1] != found[2]


def test_experts_with_an_augmentation_that_is_edited_are_not_those_before(tmp_path: Path) -> None:
    found = []
    for factor in ("0.5", "0.25"):
        imported(tmp_path, OPERATION.replace("FACTOR", factor))
        found.append(pool("convnet", tmp_path, "flip_dim"))
    assert found[0] != found[1]
    assert list(outside_operations({"augmentation": "flip_dim", "rate": 0.1})) == ["dim"]


def test_experts_of_the_package_keep_their_identity() -> None:
    shape = NetworkConfig(width=4, depth=1)
    config = ExpertConfig(epochs=2, batch_size=8, count=1)
    made = NetworkTraining(blobs(20), build(shape, 3, 8, 3), shape, config, 0).identity()
    assert list(made) == [
        "data", "data_fingerprint", "images", "network", "parameters", "recipe", "seed",
        "precision", "whitening",
    ]  # fmt: skip


def test_a_run_is_resumed_with_the_network_and_operations_that_began_it(tmp_path: Path) -> None:
    stamps = []
    for activation, factor in (("nn.ReLU()", "2"), ("nn.Tanh()", "2"), ("nn.Tanh()", "3")):
        text = NETWORK.replace("ACTIVATION", activation) + OPERATION.replace("FACTOR", factor)
        imported(tmp_path, text)
        settings = {"network": {"name": "own"}, "options": {"augmentation": "dim"}}
        config = build_run({"data": "digits", "method": "dm", "ipc": 1, **settings})
        context = prepare(config)
        stamps.append(_checkpoints(context, RunDirectory(tmp_path / "run"))._named)
    for name, differ in (("network_code", (0, 1)), ("operations", (1, 2))):
        before, after = (stamps[number][name] for number in differ)
        assert before and after and before != after


def test_images_are_decoded_again_by_a_source_that_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "x.kept_shades"
    file.write_text("10 20 30 40 50 60 70 80")
    seen = []
    for sign in ("1", "255 -"):
        imported(tmp_path, SHADES.replace("SIGN *", sign + (" *" if sign == "1" else "")))
        seen.append(load(str(file), "train"))
    first, second = seen
    assert torch.equal(255 - first.images, second.images)
    assert first.fingerprint != second.fingerprint


def test_a_source_without_files_must_say_which_images_it_has(tmp_path: Path) -> None:
    imported(tmp_path, SHADES.replace("SIGN *", ""))
    file = tmp_path / "x.lost_shades"
    file.write_text("10 20 30 40 50 60 70 80")
    with pytest.raises(DataError, match="must give its files, or say in `part`"):
        load(str(file), "train")


class Small(Network):
    """A network with parts that the tests replace."""

    def __init__(self, channels: int, resolution: int, classes: int, *middle: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Sequential(*middle, nn.AvgPool2d(2))])
        self.embedding_size = 4 * (resolution // 2) ** 2
        self.classifier = nn.Linear(self.embedding_size, classes)


def small(change: Any) -> Network:
    """The network, after ``change`` of the module on the meta device."""

    def make(config: NetworkConfig, channels: int, resolution: int, classes: int) -> Network:
        network = Small(channels, resolution, classes)
        return change(network) or network

    NETWORKS.register("small")(make)
    return build(NetworkConfig(name="small"), 3, 8, 3)


def with_layer(*layers: nn.Module) -> Any:
    def change(network: Network) -> None:
        network.blocks[0] = nn.Sequential(*layers, nn.AvgPool2d(2))

    return change


def test_dropout_is_drawn_from_the_seed_of_the_training() -> None:
    network = small(lambda network: with_layer(nn.Dropout(0.5))(network))
    assert network.one_at_a_time
    config = TrainerConfig(epochs=1, batch_size=8, augmentation="", cutmix=0.0)
    found = []
    state = torch.random.get_rng_state()
    for _ in range(2):
        start = network.initial(keyed_generator(0, "weights"))
        trainer = Trainer(network, [start], training(blobs(20)), config, [5])
        found.append(trainer.train_epoch().loss)
    assert found[0] == found[1]
    assert torch.equal(state, torch.random.get_rng_state())


def test_no_network_of_the_package_is_seeded() -> None:
    for name in NETWORKS.names():
        network = build(NetworkConfig(name=name, norm="batch"), 3, 32, 10)
        assert not network.one_at_a_time
        with network.seeded(0, 0) as seeded:
            assert seeded is None


def test_norms_and_prelu_begin_as_in_pytorch() -> None:
    layers = (
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.BatchNorm2d(4),
        nn.PReLU(4, init=0.1),
    )  # fmt: skip
    state = small(with_layer(*layers)).initial(keyed_generator(0, "weights"))
    for place, layer in enumerate(layers):
        for name, tensor in layer.state_dict().items():
            assert torch.equal(state[f"blocks.0.{place}.{name}"], tensor), (place, name)


def bare_parameter(network: Network) -> None:
    network.scale = nn.Parameter(torch.ones(4))


def buffer(network: Network) -> None:
    network.register_buffer("blur", torch.ones(3, 3))


@pytest.mark.parametrize(("change", "name"), [(bare_parameter, "scale"), (buffer, "blur")])
def test_what_nobody_knows_how_to_begin_is_refused_by_name(change: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f"initialise of Small must fill '{name}' .* override it"):
        small(change)


def without_stem(network: Network) -> None:
    del network.stem


def wrong_size(network: Network) -> None:
    network.embedding_size = 5


class Plain(Small):
    """A forward without the argument ``output``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stem(x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_stem, ".*no attribute 'stem'; set stem"),
        (wrong_size, r".*here \(2, 5\) and \(2, 3\): got \(2, 64\)"),
        (lambda network: Plain(3, 8, 3), ".*takes 2 positional arguments"),
        (lambda network: nn.Linear(2, 2), "be made by a function .*: got Linear"),
    ],
)
def test_a_network_that_does_not_work_is_refused_when_it_is_built(change: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"network 'small' must {said}"):
        small(change)


def test_a_method_that_is_not_complete_is_refused_when_it_is_registered() -> None:
    class NoTitle(Condenser):
        Config = METHODS.get("dm").Config

    class NoConfig(METHODS.get("random")):  # type: ignore[misc]
        Config = dict

    with pytest.raises(ConfigError, match=r"NoTitle lacks title, paper, start\(\)"):
        METHODS.register("lacking")(NoTitle)
    with pytest.raises(ConfigError, match="decorator @configuration"):
        METHODS.register("lacking")(NoConfig)
    with pytest.raises(ConfigError, match="derived from Condenser or Coreset"):
        METHODS.register("lacking")(dict)  # type: ignore[arg-type]


def test_an_operation_that_no_strategy_could_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no underscore.*'soft_blur'"):
        OPERATIONS.register("soft_blur")(Operation)


def test_a_protocol_must_have_a_rule_for_every_set() -> None:
    given = {"source": "", "training": TrainerConfig(epochs=1), "repeats": 1}
    Protocol(name="a", exceptions=(("digits", float("inf"), 2),), **given)
    for rules in ({"exceptions": (("digits", 1, 2),)}, {"large_epochs": ((1, 2),)}):
        with pytest.raises(ConfigError, match=r"last rule of protocol 'a' .* math\.inf"):
            Protocol(name="a", **given, **rules)


@pytest.mark.parametrize("losses", [None, 0.5, {}, {"loss": 0.5}, {"loss": torch.zeros(2)}])
def test_a_step_must_return_losses(losses: Any) -> None:
    method = METHODS.get("dm")(METHODS.get("dm").Config())
    _check_losses({"loss": torch.zeros(())}, method)
    with pytest.raises(ConfigError, match="step of DM must return its losses as a dictionary"):
        _check_losses(losses, method)


@dataclass(frozen=True)
class Mirror(Decoder):
    """Another decoder than that of the task."""

    name = "mirror"
    source = "a test"

    def images(self, stored: int) -> int:
        return stored

    def decode(self, pixels: torch.Tensor, counts: Any = None) -> torch.Tensor:
        return pixels.flip(-1)


def test_a_method_cannot_condense_with_a_decoder_that_is_not_stored() -> None:
    context = prepare(build_run({"data": "digits", "method": "dm", "ipc": 1, "factor": 1}))
    problem = task()
    begun = context.method.start(problem)
    _check_begun(begun, context.method, context)
    other = context.method.start(replace(problem, decoder=Mirror()))
    with pytest.raises(ConfigError, match="DM must condense with the decoder of its task"):
        _check_begun(other, context.method, context)
    with pytest.raises(ConfigError, match="start of DM must return a Condensation: got 3"):
        _check_begun(3, context.method, context)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.sort().values, "at place 0, whose class must be 0"),
        (lambda rows: rows[1:], r"shape \(5,\) in place of \(6,\)"),
        (lambda rows: rows.float(), "got torch.float32"),
        (lambda rows: rows.tolist(), "got list"),
        (lambda rows: rows + 100, "outside of 0 to 22"),
    ],
)
def test_a_selection_must_be_class_by_class(change: Any, said: str) -> None:
    class Chosen(Coreset):
        title, paper, Config = "Chosen", "a test", METHODS.get("random").Config

        def select(self, task: Any) -> torch.Tensor:
            rows = torch.cat([self.rows(task, label)[: task.ipc] for label in task.classes])
            return change(rows)

    problem = task(2)
    with pytest.raises(ConfigError, match=f"select of Chosen must return rows .*{said}"):
        Chosen(None).selection(problem)


def test_a_selection_may_repeat_a_row() -> None:
    method = METHODS.get("random")(None)
    problem = task(2)
    rows = method.selection(problem)
    assert torch.equal(problem.train.labels[rows], torch.tensor([0, 0, 1, 1, 2, 2]))
    method.select = lambda _: rows[[0, 0, 2, 2, 4, 4]]
    assert method.selection(problem).tolist() == rows[[0, 0, 2, 2, 4, 4]].tolist()


def test_a_set_that_records_no_data_is_scored_without_a_remark_on_it() -> None:
    real = load("digits", "train")
    pixels = real.images[[int(real.rows(label)[0]) for label in range(10)]].float() / 255
    joined = dance.CondensedSet(pixels, torch.arange(10), real.classes, real.normalization)
    (score,) = dance.evaluate(joined, data="digits", networks="mlp", epochs=1, repeats=1)
    assert not [note for note in score.notes if "fingerprint" in note]
