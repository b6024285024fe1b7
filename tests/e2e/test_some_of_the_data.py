"""Some classes, or some rows, of a data set: ``--classes`` and ``--source.indices``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dance
import dance.api  # its imports draw from Python's generator: not inside a test
from dance.core.errors import DataError
from dance.data import DataConfig, load
from e2e.command import TINY, command, done


class TestClasses:
    def test_they_are_numbered_in_the_order_of_the_set(self) -> None:
        whole = load("digits", "train")
        some = load("digits", "train", DataConfig(classes=("7", "3")))
        assert some.classes == ("3", "7")
        expected = torch.cat([whole.images[whole.rows(3)], whole.images[whole.rows(7)]])
        assert torch.equal(
            torch.cat([some.images[some.rows(0)], some.images[some.rows(1)]]), expected
        )
        assert "2 of 10 classes are used: 3, 7" in some.notes
        assert not [note for note in some.notes if "published" in note]
        assert some.fingerprint != whole.fingerprint
        assert (
            load("digits", "test", DataConfig(classes=("3", "7"))).fingerprint == some.fingerprint
        )

    def test_a_run_is_condensed_and_scored_again(self, tmp_path: Path) -> None:
        place = tmp_path / "run"
        words = ("--classes", "3", "7", "8", "--device=cpu")
        done("condense", "digits", *TINY, *words, "--output", place)
        made = dance.load(place)
        assert made.classes == ("3", "7", "8")
        assert "3 of 10 classes are used: 3, 7, 8" in made.provenance["notes"]
        assert "3 of 10 classes are used" in (place / "report.html").read_text()
        done("evaluate", place, "--networks=mlp", "--epochs=1", "--repeats=1")
        (score,) = dance.evaluate(place, networks="convnet", epochs=2, repeats=1)
        assert (
            score.num_classes == 3 and score.data_fingerprint == made.provenance["data_fingerprint"]
        )

    @pytest.mark.parametrize(
        ("words", "used"),
        [
            (("New York", "Rome"), ("New York", "Rome")),
            (("a,b", "Rome"), ("Rome", "a,b")),
            (("Rome,New York", "a"), ("New York", "Rome", "a")),
        ],
    )
    def test_names_with_spaces_and_commas(
        self, words: tuple[str, ...], used: tuple[str, ...], tmp_path: Path
    ) -> None:
        for number, name in enumerate(("New York", "Rome", "a", "a,b", "b")):
            place = tmp_path / "data" / name
            place.mkdir(parents=True)
            for image in range(4):
                Image.new("RGB", (8, 8), (40 * number, 50 * image, 0)).save(place / f"{image}.png")
        command_line = ("condense", tmp_path / "data", *TINY, "--classes", *words)
        done(*command_line, "--device=cpu", "--output", tmp_path / "run")
        assert dance.load(tmp_path / "run").classes == used
        assert load(str(tmp_path / "data"), "train", DataConfig(classes=words)).classes == used

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["3", "eleven"], "unknown class 'eleven' of digits"),
            (["3"], "at least two classes: got '3'"),
        ],
    )
    def test_others_are_refused(self, words: list[str], message: str) -> None:
        outcome = command("condense", "digits", *TINY, "--classes", *words)
        assert outcome.code == 2 and message in outcome.err


class TestRows:
    def test_text_and_array(self, tmp_path: Path) -> None:
        whole = load("digits", "train")
        rows = [row for label in range(10) for row in whole.rows(label)[:5].tolist()]
        (tmp_path / "rows.txt").write_text("\n".join(map(str, rows)) + "\n\n")
        np.save(tmp_path / "rows.npy", np.array(rows))
        parts = [
            load("digits", "train", DataConfig(indices=str(tmp_path / name)))
            for name in ("rows.txt", "rows.npy")
        ]
        assert torch.equal(parts[0].images, whole.images[sorted(rows)])
        assert torch.equal(parts[0].labels, whole.labels[sorted(rows)])
        assert parts[0].fingerprint == parts[1].fingerprint != whole.fingerprint
        mean = float(parts[0].images.double().mean() / 255)
        assert parts[0].normalization.mean == pytest.approx((mean,))
        assert "50 of 1,438 training images are used: rows in rows.txt" in parts[0].notes
        test = load("digits", "test", DataConfig(indices=str(tmp_path / "rows.txt")))
        assert torch.equal(test.images, load("digits", "test").images)
        assert test.fingerprint == parts[0].fingerprint
        assert test.normalization == parts[0].normalization

    def test_a_run(self, tmp_path: Path) -> None:
        whole = load("digits", "train")
        rows = torch.cat([whole.rows(label)[:5] for label in range(10)])
        np.save(tmp_path / "rows.npy", rows.numpy())
        place = tmp_path / "run"
        option = f"--source.indices={tmp_path / 'rows.npy'}"
        done("condense", "digits", *TINY, option, "--device=cpu", "--output", place)
        assert dance.load(place).provenance["train_images"] == 50
        done("evaluate", place, "--networks=mlp", "--epochs=1", "--repeats=1")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1\ntwo\n", "line 2 is 'two'"),
            ("-1\n", "line 1 is '-1'"),
            ("5000", r"must lie in 0..1437.*got 5000"),
            ("1\n1\n", "1 occurs more than once"),
            ("", "it is empty"),
            ("\n".join(map(str, range(3))), "among the rows in rows.txt"),
            ("9" * 30, "line 1 is"),
        ],
    )
    def test_what_is_wrong_is_refused(self, text: str, message: str, tmp_path: Path) -> None:
        path = tmp_path / "rows.txt"
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            load("digits", "train", DataConfig(indices=str(path)))

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([0.5]))
        np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
        (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
        messages = {"a.npy": "float64", "b.npy": "must be an array", "c.txt": "must be text",
                    "d.txt": "there is none at"}  # fmt: skip
        for name, message in messages.items():
            with pytest.raises(DataError, match=message):
                load("digits", "train", DataConfig(indices=str(tmp_path / name)))
