"""What the documentation site has beside docs/*.md; a hook of MkDocs (mkdocs.yml).

The Markdown of the repository reads on a hosting platform as it is. The site adds pages that are
made when it is built: the reference of the command line from its parsers, that of the library from
its docstrings, the Markdown of the repository's root, and every file outside of docs that a page
links, so that no link leaves the site.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from dance import _HOMES
from dance.cli import module_of
from dance.cli.main import VERBS
from dance.cli.options import Parser, SettingAction
from dance.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""Pages of the site that lie in the root of the repository."""
LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
HELPS = ("help", "help_all")
"""Options that every command has."""
LANGUAGES = {".py": "python", ".c": "c", ".h": "c", ".yml": "yaml", ".yaml": "yaml", "": "text"}
"""For each suffix of a linked file, the language in which it is coloured."""


# What a link means


def homes(page: str, text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Links of a page of the repository to files of the repository, and the paths of these."""
    for link in LINK.finditer(text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link["target"]))
        if (ROOT / path / "README.md").is_file():
            path += "/README.md"
        if ":" not in link["target"] and (ROOT / path).exists():
            yield link, path


def place(path: str) -> str:
    """Where the site has a file of the repository, as the path of a source of MkDocs."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"code/{path}/index.md" if (ROOT / path).is_dir() else f"code/{path}.md"


def translated(page: str, text: str) -> str:
    """The text of a page of the repository with links that hold in the site."""
    start = posixpath.dirname(place(page)) or "."
    for link, path in reversed(list(homes(page, text))):
        target = posixpath.relpath(place(path), start) + (link["anchor"] or "")
        text = text[: link.start()] + target + text[link.end() :]
    return text


# The reference of the command line


def written(action: argparse.Action) -> str:
    """How an option or an argument is written, with its value."""
    value = action.metavar or action.dest
    if not action.option_strings:
        return f"`{value}`"
    value = "" if action.nargs == 0 else f" {value}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings)


def entries(actions: list[argparse.Action]) -> str:
    """A definition list of options with their help texts; a flag and its long form are one."""
    lines = []
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        names = [written(each) for each in actions if each.dest == action.dest]
        text = str(action.help).replace("%%", "%").replace("*", r"\*").replace("_", r"\_")
        text = re.sub(r"<(?=\w)", "&lt;", text)
        lines.append(f"{', '.join(names)}\n:   {text[:1].upper()}{text[1:]}.\n")
    return "\n".join(lines)


def parser_of(verb: str, *arguments: str) -> Parser:
    """The parser of a command, as it is for these arguments."""
    module = module_of(verb)
    parser = Parser(f"dance {verb}", module.__doc__)
    module.add_arguments(parser, list(arguments))
    return parser


def command_line() -> str:
    """The page of all commands, and the one list of the settings that they share."""
    parts = [
        "# Command line",
        str(import_module("dance.cli.main").__doc__).split("\n\n")[1].partition(". ")[0] + ".",
        "Every command has `--help`, which lists the usual options, and those with settings have "
        "`--help-all`. This page is made from the same parsers. The settings, which several "
        "commands take, are listed [once](#settings).",
    ]
    general = parser_of("condense")._option_string_actions
    for verb, summary in VERBS.items():
        parser = parser_of(verb)
        usage = parser.format_usage().removeprefix("usage: ").strip()
        description = str(parser.description)
        own = [
            action
            for action in parser._actions
            if not _is_setting(action) and action.dest not in HELPS
        ]
        parts += [f"## dance {verb}", f"```text\n{usage}\n```", f"{summary.capitalize()}."]
        parts += [description.partition("\n\n")[2].replace("<", "&lt;"), entries(own)]
        if groups := [group.title for group in parser._action_groups if _settings_of(group)]:
            links = ", ".join(f"[{name}](#{anchor})" for name, anchor in map(_heading, groups))
            parts.append(f"It also takes these settings: {links}.")
        for action in parser._actions:
            for name in action.option_strings:
                if _is_setting(action) and name not in general:
                    parts.append(f"`{name}` is short for `--{action.dest}`.")
    parts += ["## Settings", "Every setting can also be given in a YAML file for `--config`."]
    for group in parser_of("condense")._action_groups:
        actions = _settings_of(group)
        if actions and group.title != "options.*":
            heading, _ = _heading(group.title)
            parts += [f"### {heading}", str(group.description or ""), entries(actions)]
    parts += ["### options.*", "The settings of one method, which `--method` chooses."]
    for name in METHODS.names():
        groups = parser_of("condense", "--method", name)._action_groups
        actions = [
            action
            for group in groups
            for action in group._group_actions
            if str(action.dest).startswith("options.")
        ]
        method = METHODS.get(name)
        described = entries(actions) or "No settings."
        parts += [f"#### {name}", f"{method.title} ({method.paper}).", described]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_setting(action: argparse.Action) -> bool:
    return isinstance(action, SettingAction) and bool(action.option_strings)


def _settings_of(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    """Settings of a group, without those of a method that have a short name."""
    return [
        action
        for action in group._group_actions
        if _is_setting(action)
        and (group.title == "options.*" or not action.dest.startswith("options."))
    ]


def _heading(group: str | None) -> tuple[str, str]:
    """The heading of a group of settings, and its anchor."""
    if group == "settings":
        return "General settings", "general-settings"
    return str(group), str(group).removesuffix(".*")


# The reference of the library


def public() -> dict[str, str]:
    """The names of ``dance``, and the full names of what they are."""
    members = {name: getattr(import_module("dance"), name) for name in _HOMES}
    return {name: f"{found.__module__}.{found.__qualname__}" for name, found in members.items()}


def library() -> str:
    """The page of what ``import dance`` gives."""
    parts = [
        "# Python",
        "What `import dance` gives. The packages below it are on the pages that follow; they are "
        "for those who add a method or another part.",
    ]
    order = ("condense", "evaluate", "load", "CondensedSet", "Score", "ImageSet")
    found = public()
    for name in sorted(found, key=lambda name: (order.index(name) if name in order else 9, name)):
        label = f"dance.{name}"
        options = f"heading: {label}\n      toc_label: {label}"
        parts.append(f"::: {found[name]}\n    options:\n      {options}")
    return "\n\n".join(parts) + "\n"


def packages() -> dict[str, list[str]]:
    """The modules of each package of the library, without the command line."""
    source = ROOT / "src" / "dance"
    found: dict[str, list[str]] = {}
    for path in sorted(source.rglob("*.py"), key=lambda path: path.with_suffix("").parts):
        parts = path.relative_to(source).with_suffix("").parts
        if parts[0] not in ("cli", "__init__", "__main__", "api"):
            name = ".".join(("dance", *parts)).removesuffix(".__init__")
            found.setdefault(parts[0], []).append(name)
    return found


def package(name: str, modules: list[str]) -> str:
    """The page of a package: every module with its public members."""
    elsewhere = [full.rpartition(".")[2] for full in public().values()]
    filters = ", ".join(f'"!^{member}$"' for member in elsewhere)
    options = f'\n    options:\n      filters: ["!^_", {filters}]'
    blocks = [f"::: {module}{options}" for module in modules]
    return "\n\n".join([f"---\nsearch:\n  boost: 0.5\n---\n\n# dance.{name}", *blocks]) + "\n"


# The hook


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {
        "reference/command-line.md": command_line(),
        "reference/python.md": library(),
        **{f"reference/{name}.md": package(name, modules) for name, modules in packages().items()},
    }
    for path, uri in ROOT_PAGES.items():
        made[uri] = (ROOT / path).read_text("utf-8")
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    pages = {f"docs/{file.src_uri}" for file in files.documentation_pages()}
    for path in sorted(_linked({page for page in pages if (ROOT / page).is_file()})):
        file = File.generated(config, place(path), content=_shown(path))
        file.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Translate the links of a page that lies in the repository."""
    root = {uri: path for path, uri in ROOT_PAGES.items()}
    path = root.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return translated(path, markdown) if (ROOT / path).is_file() else markdown


def _linked(pages: set[str]) -> set[str]:
    """Files outside of docs that pages link, and the files in linked folders."""
    found: set[str] = set()
    for page in pages | set(ROOT_PAGES):
        for _, path in homes(page, (ROOT / page).read_text("utf-8")):
            if place(path).startswith("code/"):
                found.add(path)
    for folder in [path for path in found if (ROOT / path).is_dir()]:
        found.update(f"{folder}/{name}" for name in _members(folder))
    return found


def _members(folder: str) -> list[str]:
    """Names of the source files in a folder."""
    inside = (ROOT / folder).iterdir()
    return sorted(path.name for path in inside if path.suffix in LANGUAGES and path.is_file())


def _shown(path: str) -> str:
    """The page of a file of the repository, or of a folder with links to its files."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if (ROOT / path).is_dir():
        return head + "\n".join(f"* [{name}]({name}.md)" for name in _members(path)) + "\n"
    text = (ROOT / path).read_text("utf-8")
    fence = max(re.findall(r"`{3,}", text), key=len, default="``") + "`"
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"{head}{fence}{language}\n{text.rstrip()}\n{fence}\n"
