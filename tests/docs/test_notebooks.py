"""The notebooks of examples run in a real kernel, and are stored without what a run leaves."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
tool = runpy.run_path(str(ROOT / "tools" / "clean_notebooks.py"))
CELL_SECONDS = 600
"""Largest time of a cell on a busy machine; a whole notebook takes less than a minute on an idle
one."""


def named(path: Path) -> str:
    return path.name


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs a notebook in a new kernel, and the messages of the kernel."""
    nbclient = pytest.importorskip("nbclient", reason="needs the extra dance[notebooks]")
    pytest.importorskip("ipykernel", reason="needs the extra dance[notebooks]")
    monkeypatch.delenv("DANCE_DATA_ROOT", raising=False)  # a reader has none yet
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    messages: list[dict[str, Any]] = []

    class Client(nbclient.NotebookClient):
        def process_message(self, msg: dict[str, Any], *args: Any) -> Any:
            messages.append(msg)
            return super().process_message(msg, *args)

    def run(notebook: Any) -> list[dict[str, Any]]:
        place = {"metadata": {"path": str(tmp_path)}}
        Client(notebook, timeout=CELL_SECONDS, resources=place).execute()
        return messages

    return run


def read(text: str) -> Any:
    import nbformat  # nbclient needs it

    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_there_are_notebooks() -> None:
    assert {"first_steps", "lesson", "your_own_method"} <= {path.stem for path in tool["NOTEBOOKS"]}


@pytest.mark.parametrize("path", tool["NOTEBOOKS"], ids=named)
def test_a_stored_notebook_is_clean(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == tool["clean"](text), "run: python tools/clean_notebooks.py"
    ids = [cell["id"] for cell in json.loads(text)["cells"]]
    assert len(set(ids)) == len(ids)


def test_what_a_run_and_an_editor_leave_is_removed() -> None:
    cell = {
        "cell_type": "code", "id": "a", "source": "x = 1\ny", "execution_count": 3,
        "metadata": {"collapsed": True}, "outputs": [{"output_type": "stream"}],
    }  # fmt: skip
    text = {"cells": [cell], "metadata": {"widgets": {}}, "nbformat": 4, "nbformat_minor": 4}
    (kept,) = json.loads(tool["clean"](json.dumps(text)))["cells"]
    assert kept == {
        "cell_type": "code", "id": "a", "source": ["x = 1\n", "y"], "execution_count": None,
        "metadata": {}, "outputs": [],
    }  # fmt: skip
    assert tool["clean"](tool["clean"](json.dumps(text))) == tool["clean"](json.dumps(text))


@pytest.mark.slow
@pytest.mark.parametrize("path", tool["NOTEBOOKS"], ids=named)
def test_a_notebook_runs(path: Path, execute: Any) -> None:
    """A cell that raises an exception ends the execution, which is an error of its own."""
    notebook = read(path.read_text(encoding="utf-8"))
    execute(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Warning" not in said and "Traceback" not in said, said
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert "text/html" in shown and "image/png" in shown
    leftover = [o for o in outputs if "<progress" in str(o.get("data", {}).get("text/html", ""))]
    assert not leftover, "a bar must disappear"


@pytest.mark.slow
def test_progress_is_one_bar_in_a_real_kernel(execute: Any) -> None:
    from nbformat.v4 import new_code_cell, new_notebook

    lines = (
        "import time",
        "from dance.core import progress",
        "progress._QUIET_SECONDS, progress._NOTEBOOK_SECONDS = 0.0, 0.0",
        "with progress.track('counting', 3, 'steps') as task:",
        "    for _ in range(3):",
        "        time.sleep(0.05)",
        "        task.advance()",
        "print('done')",
    )
    notebook = new_notebook(cells=[new_code_cell("\n".join(lines))])
    shown = [
        message
        for message in execute(notebook)
        if message["msg_type"] in ("display_data", "update_display_data")
    ]
    kinds = [message["msg_type"] for message in shown]
    assert kinds == ["display_data", *["update_display_data"] * 3], "one bar, changed and cleared"
    bars = [message["content"]["data"]["text/html"] for message in shown]
    assert [f'<progress value="{n}" max="3">' in bar for n, bar in enumerate(bars[:3], 1)] == [
        True
    ] * 3
    assert bars[3] == ""
    assert len({message["content"]["transient"]["display_id"] for message in shown}) == 1
    (cell,) = notebook.cells
    streams = [output for output in cell.outputs if output.output_type == "stream"]
    assert [(output.name, output.text) for output in streams] == [("stdout", "done\n")]


@pytest.mark.slow
def test_a_mistake_shows_its_message_without_a_traceback(execute: Any) -> None:
    from nbformat.v4 import new_code_cell, new_notebook

    cell = new_code_cell(
        "import dance\ndance.load('nowhere')", metadata={"tags": ["raises-exception"]}
    )
    execute(new_notebook(cells=[cell]))
    (output,) = cell.outputs
    assert output.traceback == ["ArtifactError: there is no condensed set at nowhere"]
