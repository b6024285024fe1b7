"""A shell script that completes all commands and options."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence

import shtab

from dance.cli.options import Parser
from dance.core.errors import ConfigError


def script(shell: str, shells: Sequence[str], verbs: Mapping[str, str]) -> str:
    """The completion script for one shell.

    Args:
        shell: name of the shell.
        shells: names of the supported shells.
        verbs: help text by command.

    Raises:
        ConfigError: the shell is not supported.
    """
    if shell not in shells:
        raise ConfigError(
            f"--print-completion must be followed by {', '.join(shells)}: got {shell!r}"
        )
    root = argparse.ArgumentParser(prog="dance")
    commands = root.add_subparsers(parser_class=Parser)
    for verb, text in verbs.items():
        parser = commands.add_parser(verb, help=text)
        importlib.import_module(f"dance.cli.{verb}").add_arguments(parser, [])
        for action in parser._actions:
            action.choices = getattr(action, "candidates", None) or action.choices
    return shtab.complete(root, shell)
