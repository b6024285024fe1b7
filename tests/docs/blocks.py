"""The code blocks of a Markdown page, and running them as a reader would."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dance.cli import module_of
from dance.cli.main import VERBS
from dance.cli.options import Parser
from dance.core.errors import ConfigError, DanceError

FENCE = re.compile(r"^```(?P<language>\w+)[ ]*\n(?P<text>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- *([^\n]*?) *-->\s*\Z")
RUNNABLE = {"bash", "sh", "console", "python", "yaml", "toml"}
COVERED = "covered by .ci/run"
NOT_RUN = "not run: "
COMMAND = re.compile(r"^(?:\$ )?(?:dance|make|pip|python|torchrun|from|import) \w", re.MULTILINE)
"""A line of a command or a program, which must not hide in a block that is not run."""
BY_HAND = ("git clone ", "cd ")
"""What comes before everything else, and cannot be repeated from inside the clone."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        page: file name, for messages.
        line: of the opening fence, from 1.
        language: what stands behind the fence.
        text: the lines between the fences.
        note: the HTML comment right above, if any: ``covered by .ci/run``, ``file: NAME`` (the
            content of that file, which a later block uses), or ``not run: REASON``.
    """

    page: str
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.language})"


def blocks(page: str, text: str) -> list[Block]:
    """The runnable blocks of a page, in order.

    Raises:
        ValueError: a fence is left open or has no language, or is plain text with commands, so
            they could hide from the tests.
    """
    fences = re.findall(r"^[ \t]*```.*$", text, re.MULTILINE)
    found = list(FENCE.finditer(text))
    if len(fences) != 2 * len(found):
        raise ValueError(f"{page}: a block needs a language, no indentation and an end: {fences}")
    for match in found:
        if match["language"] not in RUNNABLE and (command := COMMAND.search(match["text"])):
            raise ValueError(f"{page}: a block of text hides a command: {command.group()!r}")
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            match["text"],
            note[1] if (note := COMMENT.search(text[: match.start()])) else "",
        )
        for match in found
        if match["language"] in RUNNABLE
    ]


def uncovered(block: Block, places: str) -> list[str]:
    """Commands of a block marked as covered that the given scripts do not hold."""
    commands = [line for line in block.text.splitlines() if line and not line.startswith("#")]
    return [
        command
        for command in commands
        if not command.startswith(BY_HAND)
        and not re.search(rf"(?:^|[ \t/]){re.escape(command)}[ \t]*$", places, re.MULTILINE)
    ]


def wrong(block: Block) -> list[str]:
    """What is wrong in a block that is not run: options, syntax or names that there are not."""
    if block.language == "python":
        try:
            tree = ast.parse(block.text)
        except SyntaxError as error:
            return [str(error)]
        return [
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dance")
            for alias in node.names
            if not _exists(str(node.module), alias.name)
        ]
    found = []
    for command in re.findall(r"^ *(dance .*)", block.text.replace("\\\n", " "), re.MULTILINE):
        command = command.replace("--method moments", "--method dm")  # the example of a page
        verb, *arguments = shlex.split(command.partition(" $(")[0], comments=True)[1:]
        if not any(re.fullmatch(r"[A-Z]{3,}|.*[.]{3}|.*[$].*", word) for word in arguments):
            try:
                _parse(verb, arguments)
            except DanceError as error:
                found.append(f"{command}: {error}")
    return found


def _exists(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


def _parse(verb: str, arguments: list[str]) -> None:
    """Read the arguments of a command as the command line does.

    Raises:
        DanceError: they are refused.
    """
    if verb not in VERBS:
        raise ConfigError(f"unknown command {verb!r}")
    parser, module = Parser(f"dance {verb}"), module_of(verb)
    module.add_arguments(parser, arguments)
    parser.parse(arguments)


def execute(block: Block, folder: Path) -> None:
    """Run a block in a folder with the ``dance`` of this environment.

    Raises:
        AssertionError: it failed, or a console block printed something else than it shows.
    """
    if block.note.startswith("file:"):
        (folder / block.note.removeprefix("file:").strip()).write_text(block.text, encoding="utf-8")
    elif block.language in {"bash", "sh"}:
        _run(block, ["bash", "-euo", "pipefail", "-c", block.text], folder)
    elif block.language == "python":
        _run(block, [sys.executable, "-W", "error", "-c", block.text], folder)
    elif block.language == "console":
        for command, shown in _dialogue(block.text):
            printed = _run(block, ["bash", "-euo", "pipefail", "-c", command], folder)
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            same = doctest.OutputChecker().check_output(shown, printed, options)
            assert same, f"{block}: $ {command}\nshown:\n{shown}\nprinted:\n{printed}"
    else:
        raise AssertionError(f"{block}: give it a comment `file: NAME`, and a block that uses it")


def _dialogue(text: str) -> list[tuple[str, str]]:
    turns = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(turn.partition("\n")[0], turn.partition("\n")[2]) for turn in turns]


def _run(block: Block, command: list[str], folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    environment.pop("DANCE_DATA_ROOT", None)  # a reader has none yet
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{block} ended with {done.returncode}:\n{block.text}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout
