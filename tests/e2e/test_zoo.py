"""The zoo: ``zoo:NAME`` in every command, files that stay as they are, scores that hold."""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
from pathlib import Path

import pytest

import dance
from dance.condensed import load_set, locate
from dance.condensed.locations import zoo
from e2e.command import command, done
from e2e.outside import ROOT

NAME = "zoo:digits-ipc1"
SHORT = ("--networks=mlp", "--epochs=2", "--repeats=3", "--device=cpu")


@pytest.fixture(autouse=True)
def _files_stay_as_they_are() -> object:
    before = {path: path.read_bytes() for path in zoo.FOLDER.iterdir()}
    yield
    assert {path: path.read_bytes() for path in zoo.FOLDER.iterdir()} == before


def test_the_list_is_what_the_files_say() -> None:
    found = done("list", "zoo", "--json").json["zoo"]
    assert list(found) == zoo.names() and {"digits-ipc1", "digits-ipc10"} <= set(found)
    table = done("list", "zoo").out
    for name, facts in found.items():
        (quick,) = (row for row in load_set(f"zoo:{name}").scores if row.protocol == "quick-v1")
        assert facts["quick"]["mean"] == quick.last.mean
        line = next(line for line in table.splitlines() if line.startswith(f" {name} "))
        assert f"{quick.last} ({quick.repeats})" in line and facts["full"]["protocol"] in line
        page, _, fragment = facts["page"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.M)
        anchors = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
        assert fragment in anchors


def test_scores_are_printed_and_stored_only_in_a_copy(tmp_path: Path) -> None:
    outcome = done("evaluate", NAME, *SHORT)
    assert f"Not stored, since {NAME} is not changed" in outcome.out
    found = done("evaluate", NAME, *SHORT, "--json").json
    assert found["set"] == NAME and found["scores"][0]["protocol"] == "quick-v1, 2 epochs"
    copy = tmp_path / "copy"
    assert "Not stored" not in done("evaluate", NAME, *SHORT, "--output", copy).out
    assert [score.network for score in load_set(copy).scores] == ["convnet", "convnet", "mlp"]
    done("evaluate", NAME, *SHORT, "--seed=1", "--output", copy)
    assert len(load_set(copy).scores) == 4
    outcome = command("evaluate", "zoo:digits-ipc10", *SHORT, "--output", copy)
    assert outcome.code == 2 and "copy holds other files" in outcome.err
    (score,) = dance.evaluate(NAME, networks="mlp", epochs=2, repeats=3)
    assert score.last.mean == found["scores"][0]["last"]["mean"]


def test_every_command_takes_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    done("evaluate", NAME, *SHORT, "--output", copy)
    found = done("compare", NAME, copy, "--output", tmp_path / "both", "--json").json
    assert list(found["runs"]) == [NAME, "copy"]
    assert "options.learning_rate" not in found["settings"]
    assert "zoo:digits-ipc1" in (tmp_path / "both" / "compare.html").read_text()
    done("export", NAME, tmp_path / "out.npz", "--to", "npz")
    page = Path(done("report", NAME, "--output", tmp_path / "page").out.strip()).read_text()
    assert f"dance show {NAME} &gt; settings.yaml" in page
    assert (tmp_path / "page" / "preview.png").exists()
    outcome = command("report", NAME)
    assert outcome.code == 2 and "add --output DIR" in outcome.err
    for verb, *rest in (
        ("compare", copy),
        ("evaluate",),
        ("export", "y", "--to=npz"),
        ("report",),
        ("show",),
        ("verify",),
    ):
        outcome = command(verb, "zoo:x", *rest)
        assert outcome.code == 2 and outcome.err.startswith("dance: there is no zoo:x"), verb


def test_its_settings_make_it_again(tmp_path: Path) -> None:
    shown = done("show", NAME).out
    assert "93.5 ± 0.9 %, quick-v1, 10 networks>, 95 % interval 92.8 to 94.2" in shown
    (tmp_path / "settings.yaml").write_text(shown)
    facts = done("show", NAME, "--json").json
    assert facts["provenance"]["found_at"] == NAME and facts["digest"] == load_set(NAME).digest()
    assert done("show", "digits-ipc1").out == shown
    place = tmp_path / "run"
    words = ("--options.iterations=2", "--experts.count=1", "--experts.epochs=1", "--epochs=1")
    done("condense", "--config", tmp_path / "settings.yaml", *words, "--output", place)
    made, mine = (load_set(each).provenance["config"] for each in (NAME, place))
    again = {name: mine["options"][name] for name in made["options"]}  # without later options
    assert again == {**made["options"], "iterations": 2}


def test_the_tool_refuses_what_cannot_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tools")
    source = tmp_path.parent / "source.safetensors"
    condensed = load_set(ROOT / "src" / "dance" / "zoo" / "digits-ipc1.safetensors")
    page = condensed.provenance["page"]

    def tool(page: str = page) -> None:
        condensed.save(source)
        monkeypatch.setattr(sys, "argv", ["zoo.py", str(source), "mine", "--page", page])
        runpy.run_path(str(ROOT / "tools" / "zoo.py"), run_name="__main__")

    tool()
    assert load_set("zoo:mine").scores == condensed.scores
    with pytest.raises(SystemExit, match=r"there is no docs/nothing\.md#x"):
        tool("docs/nothing.md#x")
    condensed.provenance["config"]["source"]["root"] = "/data"
    with pytest.raises(SystemExit, match="no path of one machine"):
        tool()
    condensed.provenance["config"]["source"]["root"] = None
    condensed.scores = [score for score in condensed.scores if score.protocol == "quick-v1"]
    with pytest.raises(SystemExit, match="by the protocol of a paper"):
        tool()
    assert zoo.names() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_the_quick_score_holds(name: str, tmp_path: Path) -> None:
    """New networks, of other seeds, agree with the stored quick-v1 score."""
    data = zoo.facts(name)["data"]
    if data != "digits" and "DANCE_ZOO" not in os.environ:
        pytest.skip("takes minutes of a core: set DANCE_ZOO=all")
    condensed = load_set(f"zoo:{name}")
    condensed.scores = [score for score in condensed.scores if score.protocol == "quick-v1"]
    condensed.save(tmp_path / "set.safetensors")
    outcome = command("verify", tmp_path / "set.safetensors", "--json")
    if outcome.code == 2 and f"data set {data!r} is not here" in outcome.err:
        pytest.skip(f"{data} is not here")
    (row,) = json.loads(outcome.out)["verified"]
    assert outcome.code == 0 and row["holds"], row["difference"]
    assert locate(f"zoo:{name}").origin == f"zoo:{name}"
