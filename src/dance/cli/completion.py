"""A shell script that completes all commands and options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import shtab

from dance.cli import module_of
from dance.cli.options import RECIPE_OR_FILE, Parser
from dance.core.errors import ConfigError
from dance.recipes import RECIPES, VARIANTS

_RECIPE_OR_FILE = {
    "bash": f"""
{RECIPE_OR_FILE}() {{{{
  compgen -W "{{names}}" -- "$1"
  compgen -f -- "$1"
}}}}
""",
    "zsh": f"""
{RECIPE_OR_FILE}() {{{{
  _alternative "recipes:recipe:({{names}})" "files:file:_files"
}}}}
""",
}
"""For each shell, a function that completes names of recipes, and files."""


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
        module_of(verb).add_arguments(parser, [])
        for action in parser._actions:
            action.choices = getattr(action, "candidates", None) or action.choices
    names = " ".join([*VARIANTS.names(), *RECIPES.names()])
    return shtab.complete(root, shell, preamble=_RECIPE_OR_FILE[shell].format(names=names))
