"""Frozen dataclasses to and from plain data, strictly: nothing is guessed, nothing is ignored.

An unknown key names its neighbours, a wrong type says what must be there. Plain data is what YAML
and JSON hold: mappings, lists, text, numbers, truth values and null. A dataclass is the only home
of a setting: its type, its default and the words that explain it (attribute docstrings or an
``Attributes:`` section of the class).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import yaml

from dance.core.errors import ConfigError, nearest

T = TypeVar("T")
REQUIRED = dataclasses.MISSING
"""Stands for the default of a setting that has none."""
_NULL = ("null", "none", "~", "")
"""How a person writes null where text is expected, such as on a command line."""
_WORDS = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null",
}  # fmt: skip
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a configuration dataclass.

    Attributes:
        name: of the field.
        kind: its type.
        default: its value unless given, or :data:`REQUIRED`.
        text: what it means, in a sentence, with its unit.
    """

    name: str
    kind: Any
    default: Any
    text: str

    @property
    def nested(self) -> bool:
        """Whether the field holds a dataclass of settings."""
        return dataclasses.is_dataclass(self.kind)


def settings(cls: type) -> tuple[Setting, ...]:
    """The fields of a dataclass in order, inherited ones included, with their explanations."""
    kinds = get_type_hints(cls)
    texts = _texts(cls)
    found = []
    for field in dataclasses.fields(cls):
        default = field.default if field.default_factory is REQUIRED else field.default_factory()
        found.append(Setting(field.name, kinds[field.name], default, texts.get(field.name, "")))
    return tuple(found)


def build(cls: type[T], plain: Mapping[str, Any], where: str = "") -> T:
    """An instance of a dataclass from plain data.

    Args:
        cls: the dataclass; its fields may be numbers, text, truth values, literals, optional,
            tuples, lists, dicts or dataclasses.
        plain: values by field name; absent ones take their defaults.
        where: dotted place of ``plain`` in the whole, for messages.

    Raises:
        ConfigError: unknown key, wrong type, or a value that the dataclass refuses.

    >>> @dataclasses.dataclass
    ... class Training:
    ...     epochs: int = 60
    >>> build(Training, {"epochs": "six"}, "experts")
    Traceback (most recent call last):
    dance.core.errors.ConfigError: experts.epochs must be a whole number: got 'six'
    """
    if not isinstance(plain, Mapping):
        name = where or "the configuration"
        raise ConfigError(f"{name} must be settings by name: got {_show(plain)}")
    known = {setting.name: setting for setting in settings(cls)}
    values = {}
    for name, value in plain.items():
        if name not in known:
            place = _dotted(where, name)
            raise ConfigError(f"unknown setting {place!r}{_neighbours(cls, where, str(name))}")
        values[name] = convert(value, known[name].kind, _dotted(where, name))
    for name, setting in known.items():
        if setting.default is REQUIRED and name not in values:
            meaning = setting.text or "it has no default"
            raise ConfigError(f"{_dotted(where, name)} must be given: {meaning}")
    return cls(**values)


def convert(value: Any, kind: Any, place: str) -> Any:
    """``value`` as the type ``kind``, without guessing: text is no number, a fraction no whole one.

    Raises:
        ConfigError: it is something else; the message says what ``place`` must be.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else build(kind, value, place)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        for member in arguments:
            try:
                return convert(value, member, place)
            except ConfigError:
                continue
    elif origin is Literal:
        for choice in arguments:
            if choice == value and type(choice) is type(value):
                return choice
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(kinds) == len(value):
            return tuple(convert(v, k, place) for v, k in zip(value, kinds, strict=True))
    elif origin is list and isinstance(value, list | tuple):
        return [convert(item, arguments[0], place) for item in value]
    elif origin is dict and isinstance(value, Mapping):
        return {key: convert(v, arguments[1], _dotted(place, key)) for key, v in value.items()}
    elif kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif kind in (int, str, bool, NoneType) and type(value) is kind:
        return value
    raise ConfigError(f"{place} must be {words(kind)}: got {_show(value)}")


def from_text(text: str, kind: Any, place: str) -> Any:
    """A value written by hand, as on a command line: ``10``, ``none`` for null, ``a,b`` for a list.

    Raises:
        ConfigError: the text is no such value.

    >>> from_text("0.5", float, "momentum"), from_text("none", int | None, "depth")
    (0.5, None)
    >>> from_text("10", str, "data"), from_text("a,b", tuple[str, ...], "networks")
    ('10', ('a', 'b'))
    """
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if NoneType in members and text.lower() in _NULL:
        return None
    for member in members:
        for choice in get_args(member) if get_origin(member) is Literal else ():
            if str(choice) == text:
                return choice
        if member is bool and text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        if get_origin(member) in (tuple, list):
            kinds = get_args(member)[0]
            parts = [part for part in re.split(r"[,\s]+", text) if part]
            return convert([from_text(part, kinds, place) for part in parts], kind, place)
        if member in (int, float):
            with suppress(ValueError):
                return convert(member(text), kind, place)
    return convert(text, kind, place)


def to_plain(value: Any) -> Any:
    """Plain data of a dataclass or of anything inside one; :func:`build` reads it back."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` in place of its own, at every depth.

    >>> merge({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 5}})
    {'a': 1, 'b': {'c': 5, 'd': 3}}
    """
    merged = dict(base)
    for key, value in over.items():
        held = merged.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            value = merge(held, value)
        merged[key] = value
    return merged


def flat(plain: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Values by dotted name.

    >>> flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    found: dict[str, Any] = {}
    for key, value in plain.items():
        place = _dotted(where, key)
        found.update(flat(value, place) if isinstance(value, Mapping) else {place: value})
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of :func:`flat`.

    >>> nested({"a": 1, "b.c": 2})
    {'a': 1, 'b': {'c': 2}}
    """
    plain: dict[str, Any] = {}
    for place, value in values.items():
        *path, name = place.split(".")
        inner = plain
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return plain


def differences(held: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """``name: X there, Y now`` for each value that differs between two plain data.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b: 1 there, 3 now']
    """
    old, new = flat(held), flat(mine)
    return [
        f"{name}: {old.get(name)!r} there, {new.get(name)!r} now"
        for name in sorted({*old, *new})
        if json.dumps(old.get(name), sort_keys=True) != json.dumps(new.get(name), sort_keys=True)
    ]


def digest(plain: Any) -> str:
    """16 hex digits, the same for equal plain data whatever the order of keys, on every machine."""
    text = json.dumps(to_plain(plain), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def to_yaml(plain: Any) -> str:
    """YAML for people: keys in order, one a line, lists in brackets; takes dataclasses as well."""
    plain = to_plain(plain)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def from_yaml(text: str, name: str) -> dict[str, Any]:
    """Settings by name from YAML text; nothing but plain data is ever built.

    Args:
        text: the YAML.
        name: of the file, for messages.

    Raises:
        ConfigError: no YAML (file and line are named), a key given twice, or no settings by name.
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
        raise ConfigError(f"{name} must hold settings by name (ipc: 10): got {_show(plain)}")
    return plain


def read_yaml(path: Path) -> dict[str, Any]:
    """Settings by name from a YAML file.

    Raises:
        ConfigError: it cannot be read, or as :func:`from_yaml`.
    """
    try:
        return from_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} must be UTF-8 text: it is not") from error


def words(kind: Any) -> str:
    """A type as a person says it.

    >>> words(int), words(float | None), words(Literal["a", "b"])
    ('a whole number', 'a number or null', "'a' or 'b'")
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(words(member) for member in arguments)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (tuple, list):
        return f"a list, each {words(arguments[0])}"
    if origin is dict or dataclasses.is_dataclass(kind):
        return "settings by name"
    return _WORDS.get(kind, "a value")


def _dotted(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _show(value: Any) -> str:
    """A received value, short, as it would be written."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _neighbours(cls: type, where: str, name: str) -> str:
    """A tail that names what may have been meant: the same name elsewhere, else a close one."""
    elsewhere = [place for place in _leaves(cls, where) if place.rsplit(".", 1)[-1] == name]
    if elsewhere:
        return "; did you mean " + " or ".join(map(repr, elsewhere)) + "?"
    return nearest(name, [setting.name for setting in settings(cls)])


def _leaves(cls: type, where: str) -> list[str]:
    found = []
    for setting in settings(cls):
        place = _dotted(where, setting.name)
        found += _leaves(setting.kind, place) if setting.nested else [place]
    return found


@cache
def _texts(cls: type) -> dict[str, str]:
    """Explanations by field name; a subclass may explain an inherited field anew."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        parsed = docstring_parser.parse_from_object(base, docstring_parser.DocstringStyle.GOOGLE)
        for entry in parsed.params:
            if entry.description:
                texts[entry.arg_name] = " ".join(entry.description.replace("``", "").split())
    return texts


class _Loader(yaml.SafeLoader):
    """YAML's safe subset as people mean it: 1e-3 is a number, a key given twice an error."""

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
    # Left to itself, PyYAML writes U+0085 as it is and reads it back as a space.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(list, _bracketed)
_Dumper.add_representer(str, _escaped)
