"""YAML as its version 1.2 defines it, for recipes and for the values of flags: one way to read a number everywhere.

`010` is ten and `1e-1` a tenth; `1:30`, `1_000`, `yes` and dates are texts; a key that stands twice is an error.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
# the core schema (YAML 1.2.2, section 10.3): tag, pattern, characters that it may begin with
_CORE = (
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("int", _INTEGER, "-+0123456789"),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), "-+.0123456789"),
    ("float", re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), "-+."),
    ("null", re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
)


def read_yaml(text: str) -> Any:
    """Return what a YAML document holds: None, truth values, numbers, texts, lists and dicts of them.

    Raises:
        ValueError: It is no YAML, a key stands twice, or it uses a tag that no plain value has; the message names the
            line.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise ValueError(f"not a YAML file: {place}{problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"not a YAML file: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError("not a YAML file: it is nested too deeply") from error


def write_yaml(values: dict[str, Any]) -> str:
    """Return plain values as YAML, keys in order, which `read_yaml` and YAML 1.1 readers read back as they are."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False)
    return text


def number_in(text: str) -> int | float | None:
    """Return the number that a text is in YAML, None where it is none.

    Raises:
        ValueError: It is a whole number of more digits than Python reads.
    """
    for tag, pattern, _ in _CORE:
        if tag in ("int", "float") and pattern.fullmatch(text):
            return _to_int(text) if tag == "int" else _to_float(text)
    return None


def _to_int(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    try:
        return int(text, base)
    except ValueError as error:
        raise ValueError(f"a whole number of {len(text):,} digits is too large") from error


def _to_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Loader(yaml.SafeLoader):
    """Only plain values: no dates, no sets, no merging, no keys that stand twice, nothing that holds itself."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def read_mapping(self, node: Node) -> dict[Any, Any]:
        _expect(node, MappingNode, "a mapping")
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise ConstructorError(None, None, "expected a plain key, found a collection", key_node.start_mark)
            if key in mapping:
                raise ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def read_sequence(self, node: Node) -> list[Any]:
        _expect(node, SequenceNode, "a list")
        return [self.construct_object(item, deep=True) for item in node.value]

    def read_text(self, node: Node) -> str:
        _expect(node, ScalarNode, "a text")
        return str(node.value)

    def read_null(self, node: Node) -> None:
        self._matched(node, "null")

    def read_bool(self, node: Node) -> bool:
        return self._matched(node, "bool").lower() == "true"

    def read_number(self, node: Node) -> int | float:
        try:
            number = number_in(str(node.value))
        except ValueError as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from error
        if number is None:
            raise ConstructorError(None, None, f"{node.value!r} is no number", node.start_mark)
        return float(number) if node.tag == f"{_TAG}float" else number

    def _matched(self, node: Node, tag: str) -> str:
        (pattern,) = (pattern for name, pattern, _ in _CORE if name == tag)
        if not isinstance(node, ScalarNode) or not pattern.fullmatch(node.value):
            raise ConstructorError(None, None, f"{node.value!r} is no {tag}", node.start_mark)
        return str(node.value)


def _expect(node: Node, kind: type[Node], words: str) -> None:
    if not isinstance(node, kind):
        raise ConstructorError(None, None, f"expected {words}", node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that is a number in YAML 1.1 or in 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _CORE:
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")  # PyYAML matches from the beginning only
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _whole, list(_first))
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", _whole, list(_first))
for _name, _read in {
    "map": _Loader.read_mapping,
    "seq": _Loader.read_sequence,
    "str": _Loader.read_text,
    "null": _Loader.read_null,
    "bool": _Loader.read_bool,
    "int": _Loader.read_number,
    "float": _Loader.read_number,
}.items():
    _Loader.add_constructor(f"{_TAG}{_name}", _read)
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)  # type: ignore[type-var]
