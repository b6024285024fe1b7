"""Command-line options out of the configuration classes: types, defaults and help are theirs.

Every setting is an option under its dotted name (``--experts.epochs 6``), and under a short name
where its field declares one (:class:`dance.core.config.Option`). Only what was given is handed on,
so that it can win over a recipe.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, NoReturn, get_args, get_origin

from dance.core.config import Setting, from_text, nested, settings
from dance.core.errors import ConfigError, nearest
from dance.engine import RunConfig
from dance.recipes.resolve import generic, method_of, resolve

_WIDTH = 100
_RESOLUTION = 32
"""Help shows the defaults for images of this side."""


class Parser(argparse.ArgumentParser):
    """argparse with messages of ours: one sentence, the nearest names, where to read on."""

    def __init__(self, prog: str, description: str | None = None) -> None:
        width = min(shutil.get_terminal_size().columns, _WIDTH)
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, 2, 28, width),
        )

        self._positionals.title = "arguments"

    def format_usage(self) -> str:
        """One line: the options are too many to name twice."""
        places = [action.metavar for action in self._positionals._group_actions]
        return " ".join(["usage:", self.prog, *map(str, places), "[OPTION ...]"]) + "\n"

    def format_help(self) -> str:
        """Usage, what the command does, and the options by group."""
        self.usage = self.format_usage().removeprefix("usage: ").replace("%", "%%").strip()
        return super().format_help()

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """What the words say; ``.settings`` holds the given ones by dotted name.

        Raises:
            ConfigError: an unknown option, a value of the wrong type, or a word too many.
        """
        parsed, extra = self.parse_known_args(words, argparse.Namespace(settings={}))
        for word in extra:
            option = word.partition("=")[0]
            if option.startswith("-"):
                known = [name for name in self._option_string_actions if len(name) > 2]
                near = nearest(option, known)
                hint = near if near.startswith("; did") else ""
                raise ConfigError(f"unknown option {option!r}{hint}; see {self.prog} --help")
        if extra:
            raise ConfigError(f"one word too many: {extra[0]!r}; see {self.prog} --help")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; see {self.prog} --help")


class SettingAction(argparse.Action):
    """Reads one setting from its text and files it under its dotted name."""

    def __init__(self, option_strings: Sequence[str], dest: str, kind: Any, **rest: Any) -> None:
        super().__init__(option_strings, dest, default=argparse.SUPPRESS, **rest)
        self.kind = kind

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Convert and file.

        Raises:
            ConfigError: the text is no such value.
        """
        text = values if isinstance(values, str) else ",".join(values)
        name = option_string or self.dest
        namespace.settings[self.dest] = (
            True if self.nargs == 0 else from_text(text, self.kind, name)
        )


def add_json(parser: Parser) -> None:
    """``--json``, the same everywhere."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")


def add_data(parser: Parser) -> None:
    """DATA and ``--config``."""
    data = parser.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        action=SettingAction,
        kind=str,
        help="name of a known set (dance list datasets), folder of class folders, parquet file or "
        "folder, .npz file, or hf:owner/name",
    )
    parser.add_argument(
        "--config",
        metavar="WHAT",
        help="settings to start from: a YAML file, a run directory, the name of a recipe (dance "
        "list recipes), or quick: a run of minutes on two cores; options of the command line win",
    )
    data.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]


def add_settings(
    parser: Parser,
    words: Sequence[str],
    sections: Sequence[str] = (),
    short: Mapping[str, str] | None = None,
) -> None:
    """An option for every setting of a run, grouped by section.

    Args:
        parser: takes them.
        words: of the command; the method that they name decides which ``--options.*`` there are.
        sections: top-level settings to offer; empty: all.
        short: short names of this command by dotted name, beside those that fields declare.
    """
    method = _method(parser, words) if not sections or "options" in sections else RunConfig.method
    config = generic("DATA", method, RunConfig.ipc, _RESOLUTION)
    top = parser.add_argument_group(
        "settings",
        f"Defaults shown are those for images of {_RESOLUTION} pixels; `dance show NAME` prints "
        "those of a recipe. none leaves a value to the program.",
    )
    for setting in settings(RunConfig):
        if setting.name == "data" or (sections and setting.name not in sections):
            continue
        value = getattr(config, setting.name)
        if not is_dataclass(value):
            _add(top, top, setting.name, setting, value, short or {})
            continue
        group = parser.add_argument_group(f"{setting.name}.*", headline(type(value)))
        for inner in settings(type(value)):
            place = f"{setting.name}.{inner.name}"
            _add(group, top, place, inner, getattr(value, inner.name), short or {})


def resolved(parsed: argparse.Namespace, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration that a command with DATA means; overrides: none, those that it gives."""
    given = nested(parsed.settings) if overrides is None else overrides
    return resolve(base=parsed.config, overrides=given)


def _method(parser: Parser, words: Sequence[str]) -> str:
    """The method that a command will run, found before its options can be known."""
    first = Parser(parser.prog)
    first.add_argument("--method")
    first.add_argument("--config")
    seen, _ = first.parse_known_args([word for word in words if word not in ("-h", "--help")])
    return method_of(seen.method, seen.config)


def _add(
    group: Any, top: Any, place: str, setting: Setting, default: Any, short: Mapping[str, str]
) -> None:
    """One option, in the group at the top if it has a short name; a truth value is a switch there.

    Raises:
        ConfigError: its short name is that of another option.
    """
    kind, option = setting.kind, setting.option
    text = f"{_uncapitalised(setting.text)} (default: {_shown(default)})".replace("%", "%%")
    names = [name for name in (short.get(place, option.short),) if name]
    if names:
        group = top
        if (held := group._option_string_actions.get(names[0])) is not None:
            raise ConfigError(
                f"the short name of {place} must be one of its own: got {names[0]}, which is that "
                f"of {held.dest}"
            )
    if kind is bool and names:
        group.add_argument(*names, dest=place, action=SettingAction, kind=bool, nargs=0, help=text)
        names, text = [], argparse.SUPPRESS
    many = get_origin(kind) is tuple
    action = group.add_argument(
        *names,
        f"--{place}",
        dest=place,
        action=SettingAction,
        kind=kind,
        nargs="*" if many else None,
        metavar=option.metavar or _metavar(kind),
        help=text,
    )
    action.candidates = _choices(kind) if option.names is None else option.names.names()


def headline(described: object) -> str:
    """First line of the docstring of a class or function."""
    return (described.__doc__ or "").strip().partition("\n")[0]


def _uncapitalised(text: str) -> str:
    """A sentence as argparse writes help, in small letters and without a stop."""
    first = text.partition(" ")[0]
    return (text[:1].lower() + text[1:] if first[1:].islower() else text).removesuffix(".")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value) or '""'


def _choices(kind: Any) -> list[str]:
    """The few values that a type has, as text; none if it has many."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if kind is bool:
        return ["true", "false"]
    return [choice for member in get_args(kind) for choice in _choices(member)]


def _metavar(kind: Any) -> str:
    choices = _choices(kind)
    if choices:
        return "{" + ",".join(choices) + "}"
    members = (kind, *get_args(kind))
    return "N" if int in members else "X" if float in members else "NAME"
