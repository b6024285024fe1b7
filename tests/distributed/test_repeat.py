"""A command that is repeated by several processes uses the scores that are there."""

from __future__ import annotations

from pathlib import Path

from dance.core.files import read_json
from distributed.processes import finish, start
from e2e.command import TINY, done

WORDS = ("condense", "digits", *TINY, "--method=random", "--device=cpu")


def test_two_processes_make_the_missing_rows(tmp_path: Path) -> None:
    place = tmp_path / "run"
    words = [word for word in WORDS if not word.startswith("--options")]
    done(*words, "--networks=mlp", "--output", place)
    before = read_json(place / "scores.json")
    ended = finish(start(2, "-m", "dance", *words, "--networks=mlp,convnet", "--output", place))
    assert [code for code, _, _ in ended] == [0, 0], ended
    after = read_json(place / "scores.json")
    assert [row["network"] for row in after] == ["mlp", "convnet"]
    assert after[0] == before[0], "what is there is not made again"
