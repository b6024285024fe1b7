"""YAML of plain data: written for reading by people, and parsed strictly."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from dance.core.config import format_value, to_plain
from dance.core.errors import ConfigError
from dance.core.files import check_openable


def to_yaml(plain: Any) -> str:
    """YAML of plain data or a dataclass: keys in order, one per line, lists in brackets."""
    plain = to_plain(plain)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def from_yaml(text: str, name: str) -> dict[str, Any]:
    """Settings by name from YAML text, which must contain only plain data.

    Args:
        text: the YAML.
        name: of the file, for messages.

    Raises:
        ConfigError: the text is not YAML (the message names file and line), has a key twice, or
            does not contain settings by name.
    """
    try:
        loader = _Loader(text)
        plain = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{name}{line}: must be YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: must be YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(plain, dict) or not all(isinstance(key, str) for key in plain):
        raise ConfigError(f"{name} must hold settings by name (ipc: 10): got {format_value(plain)}")
    return plain


def read_yaml(path: Path) -> dict[str, Any]:
    """Settings by name from a YAML file.

    Raises:
        ConfigError: it cannot be read, or as :func:`from_yaml`.
    """
    try:
        check_openable(path)
        return from_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be UTF-8 text: it is not") from error


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, in which 1e-3 is a number and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping whose keys are all different."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Lists in brackets on one line; text that cannot be printed is escaped."""


def _bracketed(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


def _escaped(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # By default, PyYAML writes U+0085 unchanged and reads it as a space.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(list, _bracketed)
_Dumper.add_representer(str, _escaped)
