"""The directory of a run: which settings are those of the run in it."""

from __future__ import annotations

import pytest

from dance.core.errors import ArtifactError
from dance.engine.config import RunConfig
from dance.engine.rundir import RunDirectory, default_place


def test_a_slash_at_the_end_of_the_data_does_not_count(tmp_path) -> None:
    """Whether or not it was stored, as by earlier versions; cifar10/ is no known set."""
    plain, slash, known = (RunConfig(data=data) for data in ("photos", "photos/", "cifar10/"))
    assert slash == plain and default_place(slash) == default_place(plain)
    assert known.data == "cifar10/"
    directory = RunDirectory(tmp_path / "run")
    directory.claim(plain)
    stored = directory.config.read_text()
    assert "data: photos\n" in stored
    directory.config.write_text(stored.replace("data: photos\n", "data: photos/\n"))
    directory.claim(slash)
    with pytest.raises(ArtifactError, match="a run of other settings"):
        directory.claim(known)
