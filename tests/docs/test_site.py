"""The documentation site is complete, needs no network, and reads on any screen."""

from __future__ import annotations

import html
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from architecture.source import ROOT
from dance.cli.main import VERBS

tool = runpy.run_path(str(ROOT / "tools" / "documentation.py"))
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc(?:set)?=[\"']?(?:https?:)?//"
    r"|<link\b[^>]*?\bhref=[\"']?(?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//",
    re.IGNORECASE,
)
"""What makes a browser fetch something from another place."""
HIDDEN = ("cell",)
"""Arguments with which the program calls itself, in no help text."""
WIDE = """[...document.querySelectorAll('.md-typeset *')].filter(node =>
  !node.closest('.md-typeset__scrollwrap, pre, .arithmatex')).filter(node => {
    const box = node.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1;
  }).map(node => node.outerHTML.slice(0, 80))"""
"""Elements of the text that reach over the right edge of the window."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a dead link, a missing anchor or a bad docstring is an error."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_nothing_is_fetched_from_another_place(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 50
    found = [
        f"{path.relative_to(site)}: {match.group()}"
        for path in files
        for match in FETCHED.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://unpkg.com/x.js"></script>',
        "<link rel=stylesheet href=//fonts.googleapis.com/css>",
        '<img alt="x" src="http://example.org/x.png">',
        "@font-face { src: url('https://example.org/x.woff2') }",
    ],
)
def test_what_would_be_fetched_is_found(text: str) -> None:
    assert FETCHED.search(text)
    assert not FETCHED.search('<a href="https://example.org">a link that a reader may follow</a>')


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_pages_open_from_disk_and_fit(site: Path, browser: Any, width: int, dark: bool) -> None:
    for name in ("index", "data", "reference/command-line", "reference/methods", "results/methods"):
        browser.events.clear()
        browser.open(site / f"{name}.html", width, dark=dark)
        asked = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
        assert asked and all(url.startswith(("file:", "data:", "about:")) for url in asked), asked
        assert browser.evaluate(WIDE) == [], name
        scheme = browser.evaluate("document.body.dataset.mdColorScheme")
        assert scheme == ("slate" if dark else "default")


@pytest.mark.slow
def test_the_search_works_from_disk(site: Path, browser: Any) -> None:
    browser.open(site / "index.html", 1280)
    found = browser.evaluate("""new Promise(resolve => {
      const field = document.querySelector('.md-search__input');
      field.focus(); field.value = 'unpickle';
      field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}));
      const look = () => {
        const links = [...document.querySelectorAll('.md-search-result__link')];
        links.length ? resolve(links.map(link => link.pathname)) : setTimeout(look, 50);
      };
      look();
    })""")
    assert {"contributing.html", "security.html"} <= {Path(path).name for path in found}


def test_sections_are_few_and_pages_are_there() -> None:
    """The folders and files of docs; those that are made have other tests."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    sections = yaml.safe_load(re.sub(r"!!python/\S+", "", text))["nav"]
    assert len(sections) <= 6
    listed = set(re.findall(r"([\w/-]+\.md)$", yaml.dump(sections), re.MULTILINE))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert written <= listed


def test_the_reference_has_every_command_and_option() -> None:
    page = html.unescape(tool["command_line"]())
    assert all(f"\n## dance {verb}\n" in page for verb in VERBS)
    missing = [
        f"{verb} {name}"
        for verb in VERBS
        for action in tool["parser_of"](verb)._actions
        for name in action.option_strings
        if action.dest not in ("help", *HIDDEN) and not re.search(rf"`{name}[` ]", page)
    ]
    assert not missing
    assert "`--options.calibration_interval N`\n" in page


def test_links_hold_in_the_site_as_on_a_hosting_platform() -> None:
    """From the root, from docs, and from a folder of docs, to pages, files and folders."""
    translated = tool["translated"]
    for page, link, holds in [
        ("README.md", "docs/data.md#splits", "data.md#splits"),
        ("README.md", "docs/results", "results/README.md"),
        ("README.md", "LICENSE", "code/LICENSE.md"),
        ("docs/tour.md", "../src/dance/cli/main.py", "code/src/dance/cli/main.py.md"),
        ("docs/add-a-method.md", "../tests/unit/methods", "code/tests/unit/methods/index.md"),
        ("docs/results/bank.md", "../bank.md", "../bank.md"),
        ("docs/results/bank.md", "../../CONTRIBUTING.md", "../contributing.md"),
        ("docs/data.md", "https://example.org", "https://example.org"),
    ]:
        assert translated(page, f"see [it]({link}).") == f"see [it]({holds}).", link


@pytest.fixture(autouse=True)
def _without_the_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NO_MKDOCS_2_WARNING", "1")
