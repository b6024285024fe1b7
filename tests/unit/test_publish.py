"""What a card says about a set, and what is said about its paths."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from dance.condensed import CondensedSet, load_set
from dance.core.errors import ConfigError
from dance.publish import _command, _paths, write


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("condense --output runs/x cifar10 --ipc 10", "condense cifar10 --ipc 10"),
        ("condense --resume cifar10", "condense cifar10"),
        ("condense cifar10 --data-root /srv/images --seed 1", "condense cifar10 --seed 1"),
        ("condense --source.root /srv/images cifar10", "condense cifar10"),
        ("condense --source.root=/srv/images --output=x cifar10", "condense cifar10"),
        ("condense cifar10 --networks mlp vgg11", "condense cifar10 --networks mlp vgg11"),
    ],
)
def test_the_command_is_without_places_of_a_machine(given: str, said: str) -> None:
    run: Any = SimpleNamespace(environment={"command": ["/usr/bin/dance", *given.split()]})
    assert _command(run) == ["dance", *said.split()]


SHOW = "dance condense --config settings.yaml"


def made(**changes: Any) -> CondensedSet:
    """The digits of the zoo; changes are of the set, or of the settings if these have them."""
    digits = load_set("zoo:digits-ipc1")
    config = dict(digits.provenance["config"])
    settings = {name: changes.pop(name) for name in ("data", "source") if name in changes}
    provenance = {**digits.provenance, "config": config | settings, "dataset": "photos"}
    return replace(digits, **({"provenance": provenance} | changes))


def card_of(condensed: CondensedSet, place: Path) -> str:
    """The commands of the card that is published."""
    condensed.save(place / "set.safetensors")
    write(place / "set.safetensors", "me/set", "other", place / "folder")
    text = (place / "folder" / "README.md").read_text()
    return text.partition("## Commands")[2].partition("## Origin")[0]


class TestCommands:
    @pytest.mark.parametrize("data", ["digits", "hf:me/photos", "embedded:digits"])
    def test_others_can_repeat_what_was_made_of_data_that_they_can_have(
        self, data: str, tmp_path: Path
    ) -> None:
        said = card_of(made(data=data), tmp_path)
        assert "holds pixels, settings and scores. To score it, check its score and make it" in said
        for line in ("dance evaluate hf:me/set\n", "dance verify hf:me/set\n", f"{SHOW}\n"):
            assert line in said

    @pytest.mark.parametrize("data", ["photos", "./digits", "memory:1c2b3a"])
    def test_others_cannot_repeat_what_was_made_of_own_images(
        self, data: str, tmp_path: Path
    ) -> None:
        said = card_of(made(data=data), tmp_path)
        assert "holds pixels, settings and scores. To score it:" in said
        assert "dance evaluate hf:me/set --data DATA\n" in said
        assert "`DATA` stands for images of the same classes" in said
        assert "verify" not in said and SHOW not in said

    def test_nobody_can_repeat_what_another_program_made(self, tmp_path: Path) -> None:
        said = card_of(made(data="digits", origin="imported"), tmp_path)
        assert "holds pixels and scores. To score it and check its score:" in said
        assert "dance verify hf:me/set\n" in said and SHOW not in said

    def test_scores_that_are_not_there_are_not_checked(self, tmp_path: Path) -> None:
        said = card_of(made(data="digits", origin="imported", scores=[]), tmp_path)
        assert "holds pixels. To score it:" in said and "verify" not in said

    def test_places_of_the_data_are_the_readers_own(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        said = card_of(made(data="digits", source={"root": "/srv/data"}), tmp_path / "a")
        assert f"{SHOW} --data-root DIR\n" in said and "`DIR` stands for the folder" in said
        (tmp_path / "b").mkdir()
        said = card_of(made(data="digits", source={"indices": "rows"}), tmp_path / "b")
        assert SHOW not in said and "dance verify" in said


class TestLicence:
    def test_a_folder_of_a_known_name_has_no_known_licence(self, tmp_path: Path) -> None:
        """The name of the folder is the name of the data set in the provenance."""
        own = made(data="./digits")
        own.provenance["dataset"] = "digits"
        own.save(tmp_path / "set.safetensors")
        with pytest.raises(ConfigError, match=r"licence of \./digits, which is not known: add --"):
            write(tmp_path / "set.safetensors", "me/set", None, tmp_path / "folder")

    @pytest.mark.parametrize(
        ("data", "source"),
        [
            ("./cifar10", None),
            ("cifar10", ["uoft-cs/cifar10"]),
            ("hf:me/photos:cats", ["me/photos"]),
        ],
    )
    def test_nor_is_it_of_a_known_source(
        self, data: str, source: list[str] | None, tmp_path: Path
    ) -> None:
        own = made(data=data)
        own.provenance["dataset"] = "cifar10"
        card_of(own, tmp_path)
        front = (tmp_path / "folder" / "README.md").read_text().split("---\n")[1]
        assert yaml.safe_load(front).get("source_datasets") == source


PATHS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"data": "digits"}, "condense digits --experts.milestones=2/3,5/6 --ipc 1", []),
    ({"data": "hf:me/photos"}, "condense hf:me/photos", []),
    ({"data": "memory:1c2b3a"}, "", []),
    ({"data": "photos"}, "", ["photos"]),
    ({"data": "photos/cats"}, "condense photos/cats", ["photos/cats"]),
    ({"data": "../my photos"}, "", ["../my photos"]),
    ({"data": "C:\\photos"}, "", ["C:\\photos"]),
    ({"source": {"root": "data", "indices": "rows"}}, "", ["data", "rows"]),
    ({}, "condense digits --config mine.yaml", ["mine.yaml"]),
    ({}, "condense digits --config=../mine.yaml --track tensorboard", ["../mine.yaml"]),
    ({}, "condense digits --config /data/me/x", ["/data/me/x"]),
    ({}, "condense digits --config ~/x.yaml", ["~/x.yaml"]),
]


@pytest.mark.parametrize(("settings", "command", "paths"), PATHS)
def test_all_paths_that_are_published_are_named(
    settings: dict[str, Any],
    command: str,
    paths: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    made(**settings).save(run / "condensed.safetensors")
    if command:
        words = ["/usr/bin/dance", *command.split()]
        (run / "environment.json").write_text(json.dumps({"command": words}))
    write(run, "me/set", "other", tmp_path / "folder")
    found = re.findall(r"which are published, hold paths: (.*)", capsys.readouterr().err)
    assert found == ([", ".join(paths)] if paths else [])


def test_paths_in_notes_are_named() -> None:
    condensed = made(data="digits", classes=("T-shirt/top", *map(str, range(1, 10))))
    condensed.provenance["notes"] = [
        "this is 'digits'; to read ./digits instead, write ./digits",
        "left out and/or not read: 'cats/1.png'; the class 'T-shirt/top' is one of 1/2",
    ]
    assert _paths(condensed, []) == ["./digits", "cats/1.png"]
