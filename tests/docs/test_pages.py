"""Every command that the documentation shows works, in the order a reader meets it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docs.blocks import COVERED, SLOW, blocks, cut_short, execute, uncovered

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
]
EXECUTED = [
    page if "/" not in page else pytest.param(page, marks=pytest.mark.slow)
    for page in WRITTEN
    if "/" not in page or "<!-- runnable -->" in (ROOT / page).read_text(encoding="utf-8")
]
"""Tables of measured results show commands that take hours; other pages ask to be run, and take a
minute together."""

NOTES = re.compile(rf"{SLOW}|{re.escape(COVERED)}|file: \S+|")


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """The folder a reader works in: photographs in class folders are already there.

    Two classes that differ in brightness and hue, sides between 24 and 40 pixels, PNG.
    """
    draw = random.Random(0)
    pixels = np.random.default_rng(0)
    for label, hue in (("cats", (200, 120, 60)), ("dogs", (40, 90, 160))):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(16):
            shape = (draw.randint(24, 40), draw.randint(24, 40), 3)
            noise = pixels.integers(-40, 40, shape)
            picture = (np.array(hue) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / label / f"{index:02}.png")
    return tmp_path


@pytest.mark.parametrize("page", EXECUTED)
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_page(page: str, slow: bool, reader: Path, subtests: pytest.Subtests) -> None:
    found = blocks(page, (ROOT / page).read_text(encoding="utf-8"))
    if slow and not any(block.note == SLOW for block in found):
        pytest.skip("nothing slow here")
    scripts = [(ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", ".ci/run")]
    for block in found:
        assert NOTES.fullmatch(block.note), f"{block}: unknown note {block.note!r}"
        if block.note == COVERED:
            assert not uncovered(block, "\n".join(scripts)), str(block)
            continue
        with subtests.test(str(block)):
            execute(cut_short(block) if block.note == SLOW and not slow else block, reader)


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page}: {target}"
        for page in WRITTEN
        for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
        if "://" not in target and not ((ROOT / page).parent / target).exists()
    ]
    assert not broken, "\n".join(broken)
