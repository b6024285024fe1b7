"""What commands say before, while and after they work: counts, words, advice and help."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dance.cli.output import print_scores, print_table
from dance.condensed.score import BestStatistic, Curve, Score, Statistic, undertrained
from dance.core import progress
from dance.engine import estimate
from dance.engine.cost import busy
from dance.engine.rundir import default_place
from dance.recipes.resolve import resolve
from e2e.command import TINY, command, done
from e2e.outside import ROOT
from unit.condensed.scores import made


def scoring_steps(**settings: object) -> int:
    """Steps of training networks on sets, as an estimate counts them."""
    phases = estimate(resolve(**settings))["phases"]  # type: ignore[arg-type]
    return sum(phase["steps"] for phase in phases if "training" in phase["name"])


def small_set(place: Path, images: int) -> str:
    """A set of two classes of random images of 8 pixels, without a test split."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 8, 8), dtype=np.uint8)
    np.savez(place, images=pixels, labels=np.arange(images) % 2)
    return str(place)


def of_one_network(**changes: Any) -> Score:
    """A score of one network that was right in half of the cases."""
    one: dict[str, Any] = {"values": (0.5,), "mean": 0.5, "std": 0.0, "ci95": None}
    best = BestStatistic(**one, epochs=(1,))
    facts = {"seeds": (3,), "last": Statistic(**one), "best": best, "notes": ()}
    curve = Curve(epochs=(1,), accuracy=((0.5,),))
    return made(**facts, curve=curve, **changes)


class TestTables:
    """Tables on a terminal of any width, where no value may be cut."""

    COLUMNS = ("<name", "about", ">accuracy %")
    ROWS = (("fashion_mnist-ipc10", "ten images of each class", "17.8 ± 3.1"), ("b", "", "9.0"))

    def on_a_terminal(self, width: int, monkeypatch: Any, capsys: Any) -> str:
        for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": str(width)}.items():
            monkeypatch.setenv(name, value)
        print_table(self.COLUMNS, self.ROWS, "Title")
        return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)

    @pytest.mark.parametrize("width", [200, 80, 50, 40, 20])
    def test_no_value_is_cut(self, width: int, monkeypatch: Any, capsys: Any) -> None:
        text = self.on_a_terminal(width, monkeypatch, capsys)
        for value in ("fashion_mnist-ipc10", "17.8 ± 3.1", "9.0", "about", "accuracy %", "Title"):
            assert value in text
        assert "ten images of each class" in " ".join(text.split()) or width == 50

    def test_a_row_is_a_block_where_the_table_does_not_fit(
        self, monkeypatch: Any, capsys: Any
    ) -> None:
        lines = self.on_a_terminal(40, monkeypatch, capsys).splitlines()
        assert "name        fashion_mnist-ipc10" in lines
        assert lines[-3:] == ["name        b", "accuracy %  9.0", ""]
        assert max(map(len, self.on_a_terminal(50, monkeypatch, capsys).splitlines())) <= 50

    def test_without_a_terminal_a_table_is_as_wide_as_it_must_be(self, capsys: Any) -> None:
        print_table(("<name", ">%"), [("x" * 150, "9.0")])
        assert "x" * 150 + "   9.0" in capsys.readouterr().out


class TestEstimate:
    """``dance estimate`` counts the steps that a run makes."""

    def test_random_selection_counts_at_its_own_size(self) -> None:
        """500 steps of five networks, since nothing but the selection is scored."""
        assert scoring_steps(data="digits", method="random", base="quick") == 2500

    def test_sets_of_different_sizes_count_apart(self) -> None:
        """Two sets of 400 decoded images, 7 batches; one selection of 100, 2 batches."""
        config = {"network": {"width": 8}, "evaluation": {"epochs": 1500, "repeats": 10}}
        steps = scoring_steps(data="digits", ipc=10, overrides={"factor": 2, **config})
        assert steps == 2 * 10 * 1500 * 7 + 10 * 1500 * 2 == 240_000

    def test_what_is_cached_is_marked(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        monkeypatch.setenv("DANCE_CACHE", str(tmp_path))
        config = resolve("digits", base="quick", overrides={"experts": {"count": 1, "epochs": 1}})
        cached = [
            {phase["name"]: phase["cached"] for phase in estimate(config)["phases"]}["experts"]
        ]
        done("experts", "digits", "--config=quick", "--experts.count=1", "--experts.epochs=1")
        for count in (1, 2):
            more = replace(config, experts=replace(config.experts, count=count))
            phases = {phase["name"]: phase["cached"] for phase in estimate(more)["phases"]}
            cached.append(phases["experts"])
        assert cached == ["", "all", "1 of 2"]

    def test_a_busy_machine_is_named(self) -> None:
        found = {"seconds": 100.0, "processor_share": 0.4}
        assert "had a processor for 40 % of the time" in busy(found)
        assert "about 40.0 s" in busy(found)
        assert busy({**found, "processor_share": 0.9}) == ""
        assert busy({**found, "processor_share": None}) == ""


class TestQuick:
    """A quick run trains its experts for some hundreds of steps."""

    @pytest.mark.parametrize(
        ("images", "size", "epochs"),
        [(600, None, 38), (600, 128, 75), (20000, None, 6)],
        ids=["480 images, 64 a step", "480 images, 128 a step", "many images"],
    )
    def test_experts_of_a_small_set_make_300_steps(
        self, images: int, size: int | None, epochs: int, tmp_path: Path
    ) -> None:
        data = small_set(tmp_path / "small.npz", images)
        config = resolve(data, base="quick", overrides={"source": {"size": size}} if size else {})
        steps = -(-images * 4 // 5 // config.experts.batch_size)
        assert config.experts.epochs == epochs
        assert epochs * steps >= 300

    def test_known_sets_keep_their_numbers(self) -> None:
        assert resolve("digits", base="quick").experts.epochs == 20
        assert resolve("cifar10", base="quick").experts.epochs == 6

    def test_what_is_asked_for_wins(self, tmp_path: Path) -> None:
        data = small_set(tmp_path / "small.npz", 100)
        assert resolve(data, base="quick", overrides={"experts": {"epochs": 2}}).experts.epochs == 2

    def test_an_undertrained_whole_set_is_named(self, capsys) -> None:
        condensed = of_one_network()
        few = replace(condensed, subject="whole", epochs=6, train_images=480)
        enough = replace(few, epochs=40)
        assert undertrained([condensed, enough]) == ""
        assert "6 epochs of 480 images are few" in undertrained([condensed, few])
        worse = replace(enough, last=replace(enough.last, values=(0.4,), mean=0.4))
        assert "they may be undertrained" in undertrained([condensed, worse])
        print_scores([condensed, worse])
        assert "Note: after 40 epochs of 480 images, the networks of" in capsys.readouterr().out


class TestWords:
    """Counts of one, small test sets, advice that was followed, and quick settings in full."""

    def test_one_network_has_no_deviation(self, capsys) -> None:
        score = of_one_network()
        print_scores([score])
        out = capsys.readouterr().out
        assert "50.0" in out and "±" not in out and "1 network." in out
        assert repr(score).startswith("<Score DANCE on convnet: 50.0 %, dance-v1, 1 network>")
        print_scores([made()])
        assert "37.5 ± 17.7" in capsys.readouterr().out

    def test_few_test_images_are_warned_of(self, tmp_path: Path) -> None:
        data = small_set(tmp_path / "small.npz", 100)
        outcome = done("condense", data, *TINY, "--output", tmp_path / "run")
        assert "Note: only 20 test images: a single one changes an accuracy by 5.0" in outcome.out
        assert "dance-v1, 1 epoch" not in outcome.out and "quick-v1, 1 epoch," in outcome.out

    def test_the_advice_on_size_is_silent_once_it_is_given(self, tmp_path: Path) -> None:
        for label, side in (("a", 24), ("b", 40)):
            (tmp_path / "photos" / label).mkdir(parents=True)
            for index in range(4):
                picture = Image.new("RGB", (side, side), (index * 9, side, 0))
                picture.save(tmp_path / "photos" / label / f"{index}.png")
        words = ("show", "quick", tmp_path / "photos")
        assert "--size chooses another" not in done(*words, "--size", "16").err
        assert "--size chooses another" in done(*words).err

    def test_quick_is_shown_for_the_data_and_gives_the_same_run(self, tmp_path: Path) -> None:
        data = small_set(tmp_path / "small.npz", 600)
        shown = done("show", "quick", data, "--ipc", "2", "--method", "dm", "--size", "16").out
        file = tmp_path / "mine.yaml"
        file.write_text(shown, encoding="utf-8")
        over = {"source": {"size": 16}}
        quick = resolve(data, "dm", 2, "quick", over)
        assert resolve(base=str(file)) == resolve(data, base=str(file)) == quick
        assert default_place(resolve(base=str(file))) == default_place(quick)
        outcome = command("show", "dm", data)
        assert (outcome.code, "must follow one of best, fast, quick" in outcome.err) == (2, True)


class TestLists:
    """Long lists are filtered, help is short, and completion knows recipes."""

    def test_recipes_of_a_method_and_data(self) -> None:
        found = done("list", "recipes", "--method", "dm", "--data", "cifar10", "--json").json
        assert list(found["recipes"]) == ["dm-cifar10-ipc1", "dm-cifar10-ipc10", "dm-cifar10-ipc50"]
        assert "no recipe has" in done("list", "recipes", "--method=idm", "--data=digits").out
        assert "did you mean 'dm'" in command("list", "recipes", "--method", "dmm").err
        assert command("list", "--method", "dm").code == 2
        assert "recipes: dance list recipes --method" in done("list").out

    def test_data_sets_that_are_here(self, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cifar10").mkdir()
        monkeypatch.setenv("DANCE_DATA_ROOT", str(tmp_path))
        found = done("list", "datasets", "--json").json["datasets"]
        assert found["cifar10"].endswith(f"here, in {tmp_path / 'cifar10'}")
        assert found["digits"].endswith("here, in scikit-learn")
        assert found["svhn"].endswith("not here")

    def test_help_is_short_and_everything_is_there(self) -> None:
        short, full = (done("condense", word).out for word in ("--help", "--help-all"))
        assert len(short.splitlines()) < len(full.splitlines()) / 2
        assert "--ipc" in short and "--experts.weight_decay" not in short
        assert "--help-all lists" in short and "--help-all lists" not in full
        assert "--experts.weight_decay" in full and "--options.iterations" in full

    def test_completion_knows_recipes_and_files(self, tmp_path: Path) -> None:
        (tmp_path / "dance-mine.yaml").touch()
        script = done("--print-completion", "bash").out
        ask = script + "\n_dance_recipe_or_file dance-"
        answer = subprocess.run(
            ["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert {"dance-cifar10-ipc10", "dance-mine.yaml"} <= set(answer.stdout.split())


class TestProgress:
    """Progress has one time that is left in the whole run, and its phase."""

    def test_phases_and_the_same_bytes(self, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "cache"))
        words = ("condense", "digits", *TINY, "--output")
        quiet = done(*words, tmp_path / "quiet")
        assert "phase 1" not in quiet.err
        monkeypatch.setenv("DANCE_CACHE", str(tmp_path / "another"))
        monkeypatch.setattr(progress, "_LINE_SECONDS", -1.0)
        said = done(*words, tmp_path / "said").err
        phases = ["expert 1 of 1", "condensing with DANCE", "scoring DANCE on convnet"]
        for number, name in enumerate(phases, start=1):
            line = rf"^phase {number} of 3, {name}: \d+/\d+ steps, [\d. hmins]+ left in all"
            assert re.search(line, said, re.MULTILINE), name
        first, second = (tmp_path / name / "condensed.safetensors" for name in ("quiet", "said"))
        assert first.read_bytes() == second.read_bytes()


class TestDemo:
    """The demonstration shows one image per class first, and README shows the picture."""

    def test_one_image_comes_before_ten(self) -> None:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert 0 < makefile.index("condense digits --ipc 1 ") < makefile.index("--ipc 10 ")

    def test_the_readme_has_its_picture(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        (place,) = re.findall(r"!\[[^]]+\]\((docs/\S+\.png)\)", readme)
        assert (ROOT / place).stat().st_size < 100_000
        with Image.open(ROOT / place) as picture:
            assert picture.width == 1200
