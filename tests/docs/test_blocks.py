"""The machinery that runs the documentation can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.blocks import Block, blocks, execute, uncovered, wrong


def block(language: str, text: str, note: str = "") -> Block:
    return Block("page.md", 1, language, text, note)


def test_finds_blocks_with_their_lines_and_notes() -> None:
    text = "# T\n\n```bash\na\n```\n\n<!-- file: b -->\n```python\nb\n```\n\n```text\nc\n```\n"
    assert [(b.language, b.line, b.text, b.note) for b in blocks("page.md", text)] == [
        ("bash", 3, "a\n", ""),
        ("python", 8, "b\n", "file: b"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```\nrm\n```\n",
        "```bash\nrm\n",
        " ```bash\nrm\n ```\n",
        "```text\n$ dance list methods\n```\n",
        "```text\nfrom dance import load\n```\n",
    ],
)
def test_no_block_can_hide(text: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md"):
        blocks("page.md", text)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("bash", "false\ntrue\n"),
        ("bash", "false | true\n"),
        ("bash", "echo $undefined_name\n"),
        ("bash", "dance-that-is-not-there\n"),
        ("python", "assert 1 == 2\n"),
        ("python", "import warnings\nwarnings.warn('old')\n"),
        ("console", "$ echo one\ntwo\n"),
        ("console", "$ false\n"),
        ("yaml", "ipc: 1\n"),
    ],
)
def test_a_wrong_block_fails(language: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        execute(block(language, text), tmp_path)


def test_right_blocks_pass_and_share_a_folder(tmp_path: Path) -> None:
    execute(block("yaml", "ipc: 1\n", "file: my.yaml"), tmp_path)
    execute(block("bash", "cp my.yaml copy.yaml\n"), tmp_path)
    execute(block("python", "from pathlib import Path\nPath('copy.yaml').rename('c')\n"), tmp_path)
    execute(block("console", "$ cat c\nipc: ...\n$ echo a  b\na b\n"), tmp_path)


def test_commands_left_to_continuous_integration_must_be_there() -> None:
    readme = block("bash", "git clone https://example.org/dance\ncd dance\nmake demo\nmake it\n")
    assert uncovered(readme, "make demo\nmake iteration\n") == ["make it"]
    assert uncovered(block("bash", "pip install -e .\n"), "\t$(BIN)/pip install -e .\n") == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("bash", "for i in 1 2; do\n  dance condense digits --no-such-option 1\ndone\n"),
        ("bash", "dance condense digits \\\n  --ipc one\n"),
        ("bash", "dance distil digits\n"),
        ("python", "print(\n"),
        ("python", "from dance.core import no_such_name\n"),
        ("python", "from dance.no_such_module import name\n"),
    ],
)
def test_what_is_not_run_is_read(language: str, text: str) -> None:
    assert len(wrong(block(language, text))) == 1


def test_placeholders_are_no_mistakes() -> None:
    text = (
        "dance condense cifar10 --ipc COUNT  # three times\n... --factor 1\ntorchrun -m dance x\n"
    )
    assert wrong(block("bash", text + "dance condense cifar10 --ipc 10\n")) == []
    assert wrong(block("python", "import os\nfrom dance import condense\n")) == []
