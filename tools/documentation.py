"""What the documentation site has beside docs/*.md; a hook of MkDocs (mkdocs.yml).

The Markdown of the repository reads on a hosting platform as it is. The site adds pages that are
made when it is built: the reference of the command line from its parsers, that of the library from
its docstrings, the Markdown of the repository's root, and every file outside of docs that a page
links, so that no link leaves the site.
"""

from __future__ import annotations

import argparse
import ast
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
from dance.cli.options import Parser
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
    general = parser_of("condense")
    for verb, summary in VERBS.items():
        parts += [f"## dance {verb}", *command(parser_of(verb), summary, general)]
    parts += ["## Settings", "Every setting can also be given in a YAML file for `--config`."]
    for group in filter(has_settings, general._action_groups):
        if group.title != "options.*":
            actions = [a for a in group._group_actions if not a.dest.startswith("options.")]
            parts += [f"### {heading(group)[0]}", str(group.description or ""), entries(actions)]
    parts += ["## Settings of the methods", "Those of the method that `--method` chooses."]
    for name in METHODS.names():
        every = parser_of("condense", "--method", name)._actions
        actions = [action for action in every if action.dest.startswith("options.")]
        method = METHODS.get(name)
        about = f"{method.title} ({method.paper})."
        parts += [f"### {name}", about, entries(actions) or "It has no settings."]
    return "\n\n".join(part for part in parts if part) + "\n"


def command(parser: Parser, summary: str, general: Parser) -> Iterator[str]:
    """The paragraphs of one command; of its settings only the names that are its own."""
    yield f"```text\n{parser.format_usage().removeprefix('usage: ').strip()}\n```"
    yield f"{summary.capitalize()}."
    yield str(parser.description).partition("\n\n")[2].replace("<", "&lt;")
    shared = [group for group in parser._action_groups if has_settings(group)]
    own = [group for group in parser._action_groups if group not in shared]
    actions = [action for group in own for action in group._group_actions]
    yield entries([action for action in actions if action.dest not in HELPS])
    if taken := [taken_of(group, general) for group in shared if group._group_actions]:
        yield f"It also takes these settings: {', '.join(taken)}."
    for action in (action for group in shared for action in group._group_actions):
        for name in action.option_strings:
            if name not in general._option_string_actions:
                yield f"`{name}` is short for `--{action.dest}`."


def taken_of(group: argparse._ArgumentGroup, general: Parser) -> str:
    """A link to a group of settings, with the names of those that a command takes if not all."""
    title, anchor = heading(group)
    (whole,) = [each for each in general._action_groups if each.title == group.title]
    names = list(dict.fromkeys(action.dest for action in group._group_actions))
    some = len(names) < len({action.dest for action in whole._group_actions})
    only = f" ({', '.join(f'`--{name}`' for name in names)})" if some else ""
    return f"[{title}](#{anchor}){only}"


def has_settings(group: argparse._ArgumentGroup) -> bool:
    """Whether a group has settings of a run, which several commands take."""
    return group.title == "settings" or str(group.title).endswith(".*")


def heading(group: argparse._ArgumentGroup) -> tuple[str, str]:
    """The heading of a group of settings, and its anchor."""
    if group.title == "settings":
        return "General settings", "general-settings"
    if group.title == "options.*":
        return "options.*", "settings-of-the-methods"
    return str(group.title), str(group.title).removesuffix(".*")


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


def packages() -> dict[str, list[Path]]:
    """The modules of each package of the library, without the command line."""
    source = ROOT / "src" / "dance"
    found: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*.py"), key=lambda path: path.with_suffix("").parts):
        name = path.relative_to(source).parts[0]
        if name != "cli" and not name.endswith(".py"):
            found.setdefault(name, []).append(path)
    return found


def package(name: str, modules: list[Path]) -> str:
    """The page of a package: every module with the public members that it defines."""
    parts = [f"---\nsearch:\n  boost: 0.5\n---\n\n# dance.{name}"]
    described = set(public().values())
    for path in modules:
        place = path.relative_to(ROOT / "src").with_suffix("").parts
        module = ".".join(part for part in place if part != "__init__")
        members = [one for one in _defined(path) if f"{module}.{one}" not in described]
        heading = module != f"dance.{name}"
        parts.append(
            f"::: {module}\n    options:\n      show_root_heading: {heading}\n"
            f"      members: {members}"
        )
    return "\n\n".join(parts) + "\n"


def _defined(path: Path) -> list[str]:
    """The public names that a module defines: no imports, and no type variables."""
    found = []
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        found += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(found) if not name.startswith("_") and name[1:]]


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
