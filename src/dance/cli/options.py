"""Command-line options out of the configuration dataclasses: types, defaults and help are theirs.

Every setting is an option under its dotted name (``--experts.epochs 6``); those used most have a
short name as well. Only what was given is handed on, so that it can win over a recipe.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from dance.core.config import Setting, flat, from_text, nested, settings, to_plain
from dance.core.errors import ConfigError, nearest
from dance.core.registry import Registry
from dance.engine import RunConfig
from dance.evaluation.protocol import PROTOCOLS
from dance.methods import METHODS
from dance.networks import NETWORKS
from dance.recipes.resolve import generic, method_of, resolve

SHORT: Mapping[str, str] = {
    "memory_limit": "--memory-limit",
    "options.real_targets": "--real-targets",
    "options.bank_draws": "--bank-draws",
    "source.root": "--data-root",
    "source.size": "--size",
    "source.offline": "--offline",
    "source.skip_bad": "--skip-bad",
    "evaluation.protocol": "--protocol",
    "evaluation.repeats": "--repeats",
    "evaluation.epochs": "--epochs",
}
"""Other names of settings, most of them inside sections."""
_NAMES: Mapping[str, Registry[Any]] = {
    "method": METHODS,
    "networks": NETWORKS,
    "network.name": NETWORKS,
    "evaluation.protocol": PROTOCOLS,
}
"""Settings whose values are names of something registered."""
_METAVARS = {"source.root": "DIR", "device": "DEVICE", "memory_limit": "BYTES"}
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
        "list recipes), or quick: a run of minutes on two cores; options given beside it win",
    )
    data.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]


def add_settings(
    parser: Parser,
    words: Sequence[str],
    sections: Sequence[str] = (),
    short: Mapping[str, str] = SHORT,
) -> None:
    """An option for every setting of a run, grouped by section.

    Args:
        parser: takes them.
        words: of the command; the method that they name decides which ``--options.*`` there are.
        sections: top-level settings to offer; empty: all.
        short: short names by dotted name.
    """
    method = _method(parser, words) if not sections or "options" in sections else RunConfig.method
    config = generic("DATA", method, RunConfig.ipc, _RESOLUTION)
    defaults = flat(to_plain(config))
    top = parser.add_argument_group(
        "settings",
        f"Defaults shown are those for images of {_RESOLUTION} pixels; `dance show NAME` prints "
        "those of a recipe. none leaves a value to the program.",
    )
    for setting in settings(RunConfig):
        if setting.name == "data" or (sections and setting.name not in sections):
            continue
        kind = type(config.options) if setting.name == "options" else setting.kind
        if setting.nested or setting.name == "options":
            group = parser.add_argument_group(f"{setting.name}.*", headline(kind))
            for inner in settings(kind):
                place = f"{setting.name}.{inner.name}"
                _add(top if place in short else group, place, inner, defaults, short)
        else:
            _add(top, setting.name, setting, defaults, short)


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
    group: Any,
    place: str,
    setting: Setting,
    defaults: Mapping[str, Any],
    short: Mapping[str, str],
) -> None:
    """One option; a truth value with a short name becomes a switch as well."""
    kind = setting.kind
    text = f"{setting.text} (default {_shown(defaults.get(place))})".replace("%", "%%")
    names = [short[place]] if place in short else []
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
        metavar=_metavar(place, kind),
        help=text,
    )
    action.candidates = _NAMES[place].names() if place in _NAMES else _choices(kind)


def headline(described: object) -> str:
    """First line of the docstring of a class or function."""
    return (described.__doc__ or "").strip().partition("\n")[0]


def _shown(value: Any) -> str:
    if isinstance(value, list):
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


def _metavar(place: str, kind: Any) -> str:
    choices = _choices(kind)
    if choices:
        return "{" + ",".join(choices) + "}"
    if place in _METAVARS:
        return _METAVARS[place]
    members = (kind, *get_args(kind))
    return "N" if int in members else "X" if float in members else "NAME"
