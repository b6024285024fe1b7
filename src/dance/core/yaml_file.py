"""YAML of plain data: written for reading by people, and parsed strictly."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from dance.core.config import format_value, to_plain
from dance.core.errors import ConfigError
from dance.core.files import check_openable

_MAX_BYTES = 1_000_000
"""Largest file of settings that is read."""
_MAX_VALUES = 100_000
"""Largest number of values in a file, with those of an anchor counted wherever it is used."""
_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
"""Types of plain data, as YAML calls them."""
_NUMBERS = {
    f"{_TAG}int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    f"{_TAG}float": re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}
"""The numbers of YAML 1.2's core schema, by their tag."""


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
    with suppress(ValueError, RecursionError):  # it is no JSON, which is YAML except for its tabs
        json.loads(text)
        text = text.replace("\t", " ")
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
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ConfigError(
                f"{path} must be a file of settings, of at most {_MAX_BYTES:,} bytes: it has "
                f"{size:,}"
            )
        return from_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be UTF-8 text: it is not") from error


class _Loader(yaml.SafeLoader):
    """YAML's safe subset with the numbers of YAML 1.2: 010 is ten, and 1e-3 a number.

    A key given twice is an error, and so are anchors that contain themselves or whose uses would
    make the content too large.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The only document, checked before anything is made of it."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _expanded(node, {})
        return node


def _expanded(node: yaml.Node, known: dict[yaml.Node, int | None]) -> int:
    """Number of values of a node, with those of an anchor counted wherever it is used.

    Args:
        node: to count.
        known: the numbers of the nodes that were counted; None while one is being counted.

    Raises:
        yaml.MarkedYAMLError: there are too many, an anchor contains itself, or a key is given
            twice.
    """

    def refuse(problem: str, at: yaml.Node) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark)

    if node in known:
        if (counted := known[node]) is None:
            refuse("an anchor contains itself", node)
        return counted or 0
    known[node] = None
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                refuse(f"the key {key.value!r} is given twice", key)
            seen.add(str(key.value))
    count = 1 + sum(_expanded(part, known) for part in parts)
    if count > _MAX_VALUES:
        refuse(f"it must hold at most {_MAX_VALUES:,} values, those of anchors included", node)
    known[node] = count
    return count


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _truth(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    text = str(loader.construct_scalar(node)).lower()
    if text not in loader.bool_values:
        raise ValueError(f"no truth value: {text!r}")
    return bool(loader.bool_values[text])


def _without(*tags: str) -> dict[str | None, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's rules for values without quotes, by first character, without those of some tags."""
    rules = yaml.SafeLoader.yaml_implicit_resolvers
    return {
        first: [(tag, pattern) for tag, pattern in known if tag not in tags]
        for first, known in rules.items()
    }


_Loader.yaml_implicit_resolvers = _without(*_NUMBERS, f"{_TAG}timestamp", f"{_TAG}value")
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag in [_TAG + name for name in _PLAIN]
}
_Loader.add_constructor(f"{_TAG}int", _whole_number)
_Loader.add_constructor(f"{_TAG}bool", _truth)


class _Dumper(yaml.SafeDumper):
    """Lists in brackets on one line; text that cannot be printed is escaped.

    Text that YAML 1.1 or 1.2 reads as something else is quoted.
    """


def _bracketed(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


def _escaped(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # By default, PyYAML writes U+0085 unchanged and reads it as a space.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


for _class in (_Loader, _Dumper):
    for _tag, _pattern in _NUMBERS.items():
        _class.add_implicit_resolver(
            _tag, re.compile(rf"(?:{_pattern.pattern})$"), [*"-+.0123456789"]
        )
_Dumper.add_representer(list, _bracketed)
_Dumper.add_representer(str, _escaped)
