"""What is in the repository: UTF-8 text, honest names, no trace of one machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from architecture.source import ROOT

VAGUE = {"utils", "util", "misc", "common", "helpers", "helper", "stuff"}
"""Names that say nothing of what is inside."""

BINARY = {".png", ".jpg", ".safetensors", ".parquet", ".npz"}

# The brackets keep this file from finding itself.
FORBIDDEN = {
    "a path of one machine": re.compile(
        r"(?<![\w.])[/](?:home|root|Users|work|mnt|scratch)[/]\w|[A-Z]:[\\]{1,2}Users"
    ),
    "a place outside of the repository": re.compile(r"(?<!\w)[.][.]/shared\b|(?<!\w)[.]library\b"),
    "unfinished work": re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b"),
    "a merge left open": re.compile(r"^(?:[<]{7}|[>]{7}) ", re.MULTILINE),
}

ALLOWED = {(".ci/run", "a place outside of the repository")}
"""The one place that may look for real image sets beside the checkout."""


def forbidden(path: str, text: str) -> list[str]:
    """What a tracked text file must not contain."""
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {reason}: {match.group()!r}"
        for reason, pattern in FORBIDDEN.items()
        if (path, reason) not in ALLOWED
        for match in pattern.finditer(text)
    ]


def vague(path: str) -> list[str]:
    """Parts of a path that say nothing."""
    words = (word for part in Path(path).parts for word in re.split(r"[_.-]", part.lower()))
    return [f"{path}: {word!r} says nothing" for word in words if word in VAGUE]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    return [path for path in listing.split("\0") if path and (ROOT / path).is_file()]


def test_tracked_files_hold_nothing_forbidden(tracked: list[str]) -> None:
    findings = [
        finding
        for path in tracked
        if Path(path).suffix not in BINARY
        for finding in forbidden(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not findings, "\n".join(findings)


def test_tracked_files_have_names_that_say_something(tracked: list[str]) -> None:
    findings = [finding for path in tracked for finding in vague(path)]
    assert not findings, "\n".join(findings)


def test_tracked_text_ends_lines_the_unix_way(tracked: list[str]) -> None:
    assert [
        path
        for path in tracked
        if Path(path).suffix not in BINARY and b"\r" in (ROOT / path).read_bytes()
    ] == []


def test_no_tracked_file_is_large(tracked: list[str]) -> None:
    assert [path for path in tracked if (ROOT / path).stat().st_size > 1_000_000] == []


@pytest.mark.parametrize(
    "text",
    [
        "data = '/home/" + "ann/cifar10'",
        "see /wo" + "rk/main/README.md",
        "open('../" + "shared/data')",
        "x = 1  # TO" + "DO: later",
        "<" * 7 + " HEAD",
    ],
)
def test_finds_forbidden_text(text: str) -> None:
    assert len(forbidden("src/dance/a.py", text)) == 1


def test_lets_ordinary_text_pass() -> None:
    text = (
        "https://example.org/root/x\n#!/usr/bin/env bash\n/tmp/x\nhomework/root/x\n../shared_axes\n"
    )
    assert forbidden("src/dance/a.py", text) == []


@pytest.mark.parametrize(
    "path", ["src/dance/utils.py", "src/dance/misc/a.py", "tests/test_helpers.py"]
)
def test_finds_a_vague_name(path: str) -> None:
    assert len(vague(path)) == 1


def test_lets_a_name_that_says_something_pass() -> None:
    assert vague("src/dance/data/futile_commonwealth.py") == []
