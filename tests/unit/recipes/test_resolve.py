"""What a command means: recipe, --config, single settings; and what is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from dance.cli.options import Parser, add_data, add_settings
from dance.core.config import AtLeastOne, Option, configuration, nested, to_plain
from dance.core.errors import ConfigError
from dance.core.yaml_file import to_yaml
from dance.engine import RunConfig
from dance.engine.rules import check
from dance.methods import METHODS
from dance.methods.random import Random
from dance.recipes import RECIPES
from dance.recipes.resolve import generic, method_of, resolve


def own_images(folder: Path, resolution: int) -> str:
    """A data set of ours: two classes of six noise images."""
    images = np.random.default_rng(0).integers(
        0, 255, (12, resolution, resolution, 3), dtype=np.uint8
    )
    path = folder / f"own{resolution}.npz"
    np.savez(path, images=images, labels=np.arange(12) % 2)
    return str(path)


class TestDefault:
    @pytest.mark.parametrize(
        ("data", "ipc", "name"),
        [
            ("cifar10", 10, "dance-cifar10-ipc10"),
            ("tiny_imagenet", 50, "dance-tiny-imagenet-ipc50"),
            ("imagewoof", 1, "dance-imagewoof-ipc1"),
            ("digits", 10, "dance-digits-ipc10"),
        ],
    )
    def test_known_data_take_their_recipe(self, data: str, ipc: int, name: str) -> None:
        assert resolve(data, ipc=ipc) == RECIPES.get(name).config()
        assert resolve(data, ipc=ipc, base="quick") == RECIPES.get(f"{name}-quick").config()

    def test_any_number_of_images_follows_the_same_rule(self) -> None:
        plain = to_plain(resolve("cifar10", ipc=7))
        assert plain == {**to_plain(RECIPES.get("dance-cifar10-ipc10").config()), "ipc": 7}

    def test_known_data_without_a_recipe_follow_it_too(self) -> None:
        assert resolve("svhn") == generic("svhn", "dance", 10, 32)
        assert resolve("imagefruit_mtt").factor == 3

    @pytest.mark.parametrize(
        ("resolution", "factor", "epochs"), [(40, 2, 60), (64, 2, 60), (65, 3, 80)]
    )
    def test_own_data_follow_their_side(
        self, resolution: int, factor: int, epochs: int, tmp_path: Path
    ) -> None:
        for config in (
            resolve(own_images(tmp_path, resolution)),
            resolve(own_images(tmp_path, 20), overrides={"source": {"size": resolution}}),
        ):
            assert (config.factor, config.experts.epochs) == (factor, epochs)

    def test_a_given_side_needs_no_look_at_the_images(self) -> None:
        config = resolve("/not/there", overrides={"source": {"size": 128}})
        assert config.options.learning_rate == 0.1

    def test_another_method_brings_its_own_defaults_and_no_factor(self) -> None:
        config = resolve("cifar10", method="random")
        assert (config.method, config.factor, config.ipc) == ("random", 1, 10)
        assert type(config.options) is not type(resolve("cifar10").options)
        assert resolve("cifar10", method="random", base="quick").evaluation.protocol == "quick-v1"

    def test_nothing_says_what_data(self) -> None:
        with pytest.raises(ConfigError, match="which data"):
            resolve()


class TestLayers:
    def test_single_settings_win_over_everything(self, tmp_path: Path) -> None:
        over = {"ipc": 3, "experts": {"epochs": 2}, "options": {"momentum": 0.25}}
        path = tmp_path / "mine.yaml"
        path.write_text(to_yaml(resolve("cifar10", base="quick")), encoding="utf-8")
        for base in (None, "quick", "dance-cifar10-ipc10", str(path)):
            config = resolve("cifar10", base=base, overrides=over)
            assert (config.ipc, config.experts.epochs, config.options.momentum) == (3, 2, 0.25)

    def test_a_whole_file_reads_back_to_itself(self, tmp_path: Path) -> None:
        for config in (
            resolve("imagemeow", ipc=1, overrides={"seed": 4}),
            resolve("digits", method="random"),
        ):
            (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
            assert resolve(base=str(tmp_path / "config.yaml")) == config
            assert resolve(base=str(tmp_path)) == config, "a run directory stands for its file"

    def test_a_file_of_few_settings_is_taken_over_the_recipe(self, tmp_path: Path) -> None:
        path = tmp_path / "few.yaml"
        path.write_text("experts: {count: 2}\n", encoding="utf-8")
        plain = to_plain(resolve("imagenette", ipc=1, base=str(path)))
        assert plain["experts"].pop("count") == 2
        expected = to_plain(RECIPES.get("dance-imagenette-ipc1").config())
        del expected["experts"]["count"]
        assert plain == expected

    def test_options_of_one_method_are_not_given_to_another(self, tmp_path: Path) -> None:
        path = tmp_path / "dance.yaml"
        path.write_text(to_yaml(resolve("digits")), encoding="utf-8")
        for base in (str(path), "dance-digits-ipc10"):
            config = resolve(base=base, method="random")
            assert config.options == generic("digits", "random", 1, 8).options

    def test_a_recipe_serves_other_data(self) -> None:
        assert resolve("svhn", base="dance-cifar10-ipc1").data == "svhn"

    def test_a_recipe_goes_before_a_file_of_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("dance-cifar10-ipc1").write_text("ipc: 3", encoding="utf-8")
        assert resolve(base="dance-cifar10-ipc1").ipc == 1
        assert resolve("cifar10", base="./dance-cifar10-ipc1").ipc == 3

    @pytest.mark.parametrize(
        ("base", "message"),
        [
            ("quik", "unknown recipe 'quik'; did you mean 'quick'?; see dance list recipes"),
            ("dance-cifar10-ipc100", "did you mean 'dance-cifar10-ipc10'"),
            ("mine.yaml", "no file mine.yaml"),
            ("a/b", "no file a/b"),
        ],
    )
    def test_a_base_that_is_not_there(self, base: str, message: str) -> None:
        with pytest.raises(ConfigError) as error:
            resolve("cifar10", base=base)
        assert message in str(error.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("ipc: ten", "ipc must be a whole number: got 'ten'"),
            ("experts: 3", "experts must be settings by name: got 3"),
            ("experts: {epoch: 3}", "unknown setting 'experts.epoch'; did you mean 'epochs'?"),
            ("iterations: 3", "unknown setting 'iterations'"),
            ("options: {iteration: 3}", "'options.iteration'; did you mean 'iterations'"),
            ("options: [3]", "options must be settings by name: got [3]"),
            ("method: 3", "method"),
            ("method: danse", "unknown method 'danse'; did you mean 'dance'?"),
            ("method: null", "method must be text: got null"),
            ("source: []", "source must be settings by name"),
            ("data: 3", "data"),
        ],
    )
    def test_a_file_with_a_mistake(self, text: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            resolve(None if text.startswith("data") else "cifar10", base=str(path))
        assert message in str(error.value)
        assert str(path) in str(error.value)

    def test_the_method_is_known_before_the_rest(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("method: random", encoding="utf-8")
        assert method_of(None, None) == method_of(None, "quick") == "dance"
        assert method_of(None, "dance-cifar10-ipc1") == "dance"
        assert method_of(None, str(path)) == "random"
        path.write_text("method: null", encoding="utf-8")
        assert method_of(None, str(path)) == "dance", "the settings are checked, and refused, later"
        assert method_of("dance", str(path)) == "dance"
        with pytest.raises(ConfigError, match="unknown method 'rando'"):
            method_of("rando", None)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("ipc", 0, "ipc must be at least 1: got 0"),
        ("factor", 0, "factor must be at least 1: got 0"),
        ("factor", 17, "17"),
        ("chunk", 0, "chunk must be at least 1"),
        ("seed", -1, "seed must be at least 0"),
        ("networks", [], "networks must name at least one"),
        ("networks", ["convent"], "unknown network 'convent'; did you mean 'convnet'?"),
        ("network.name", "resnet1", "unknown network 'resnet1'"),
        ("network.depth", 0, "network.depth must be from 1 to 16"),
        ("network.width", 0, "network.width must be from 1 to 65536"),
        ("experts.epochs", -1, "experts.epochs must be at least 1: got -1"),
        ("experts.count", -1, "experts.count must be from 0 to"),
        ("experts.momentum", 1.0, "experts.momentum must be at least 0 and below 1: got 1.0"),
        ("experts.learning_rate", 0.0, "experts.learning_rate must be above 0"),
        ("experts.cutmix", 1.5, "experts.cutmix must be from 0 to 1"),
        ("experts.augmentation", "color_corp", "'corp'"),
        ("options.iterations", 0, "options.iterations must be at least 1"),
        ("options.momentum", -0.1, "options.momentum must be at least 0 and below 1"),
        ("options.augmentation", "blur", "'blur'"),
        ("evaluation.protocol", "dance-v2", "unknown protocol 'dance-v2'"),
        ("evaluation.repeats", 0, "evaluation.repeats must be from 1 to 10000"),
        ("evaluation.epochs", 0, "evaluation.epochs must be from 1 to 10000000"),
        ("source.size", 0, "0"),
        ("source.test_fraction", 1.0, "test_fraction"),
        ("device", "gpu", "device must be auto, cpu, cuda or cuda:N: got 'gpu'"),
    ],
)
def test_values_that_cannot_work_are_refused_before_work(
    place: str, value: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        resolve("cifar10", overrides=nested({place: value}))
    assert message in str(error.value)


@configuration
class OutsideConfig:
    """Settings of a method of another distribution, two of them named as NCFM names its own."""

    phase: float = 0.5
    """Weight of something that may be negative."""
    moments: Annotated[AtLeastOne, Option(short="--moments")] = 2
    """Number of moments that are matched."""
    frequencies: int = 0
    """Number of frequencies, or 0 for none."""


class Outside(Random):
    """A method that chooses as random selection does."""

    Config = OutsideConfig


class TestOutside:
    """The options of one method are its own: no name has a range everywhere."""

    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        METHODS.get("random")  # all others are found
        monkeypatch.setitem(METHODS._members, "outside", Outside)

    def resolved(self, **options: Any) -> OutsideConfig:
        found = resolve("cifar10", "outside", overrides={"options": options}).options
        assert isinstance(found, OutsideConfig)
        return found

    def test_names_mean_what_their_class_says(self) -> None:
        assert self.resolved(phase=-0.5, frequencies=0) == OutsideConfig(phase=-0.5, frequencies=0)
        with pytest.raises(ConfigError, match=r"options\.phase must be at least 0: got -0\.5"):
            resolve("cifar10", "ncfm", overrides={"options": {"phase": -0.5}})

    def test_ranges_of_new_names_hold(self) -> None:
        with pytest.raises(ConfigError, match=r"options\.moments must be at least 1: got -3"):
            self.resolved(moments=-3)

    def test_a_field_has_its_short_name(self) -> None:
        parser = Parser("dance condense")
        add_data(parser)
        add_settings(parser, ["--method", "outside"])
        parsed = parser.parse(["cifar10", "--method", "outside", "--moments", "3"])
        assert resolve(overrides=nested(parsed.settings)).options.moments == 3

    def test_a_short_name_that_is_taken_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @configuration
        class Greedy:
            """Settings under a name of another one."""

            moments: Annotated[int, Option(short="--size")] = 2
            """Number of moments that are matched."""

        monkeypatch.setattr(Outside, "Config", Greedy)
        parser = Parser("dance condense")
        add_data(parser)
        with pytest.raises(ConfigError, match=r"options\.moments .* --size, .* source\.size"):
            add_settings(parser, ["--method", "outside"])

    def test_options_of_another_method_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"options must be those of random, .* OutsideConfig"):
            RunConfig(data="cifar10", method="random", options=OutsideConfig())


def test_what_every_recipe_holds_can_work() -> None:
    for name in RECIPES.names():
        check(RECIPES.get(name).config())
