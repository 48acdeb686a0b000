"""JSON without room for two readings: what readers take differently is refused, in reading and in writing alike."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from .text import check_unicode

_DEEPEST = 127  # levels of lists and objects; other strict readers stop here, too
_LARGEST = int(sys.float_info.max)
_MOST_DIGITS = sys.float_info.max_10_exp  # an int of so many is within float64
_TOO_DEEP = f"more than {_DEEPEST} lists and objects inside each other"
_EXPECTED = "text, numbers, true or false, None, lists, or dicts with text as keys"


def read_json(text: str) -> Any:
    """Read one JSON value.

    Returns:
        dict, list, str, int, float, bool or None; ``-0`` is the float that it stands for.

    Raises:
        ValueError: It is no JSON as RFC 8259 has it (NaN is none), an object has a key twice, a text holds half of a
            surrogate pair, a number is beyond float64, or more than 127 lists and objects are inside each other.
    """
    check_unicode(text, "the text")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_int)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    has_halves = "\\ud" in text or "\\uD" in text
    _check_inside([value], (str, dict, list) if has_halves else (dict, list), -1)
    return value


def write_json(value: Any, called: str) -> str:
    """Write a value that `read_json` gives back as it is, types included.

    Raises:
        ValueError: It holds something else than None, bool, int, float, str, list, or dict with str as keys, or what
            `read_json` refuses; the message begins with `called` and the place in the value.
    """
    check_json(value, called)
    return json.dumps(value)


def check_json(value: Any, called: str, level: int = 0) -> None:
    """Raise ValueError, which begins with `called`, where `write_json` would."""
    kind = type(value)
    if kind is str:
        check_unicode(value, called)
    elif kind is int or kind is float:
        if not (abs(value) <= _LARGEST):  # NaN is not
            raise ValueError(f"{called} is {_short(value)}; JSON has no such number")
    elif kind is list or kind is dict:
        if level == _DEEPEST:
            raise ValueError(f"{called}: {_TOO_DEEP}")
        for key, item in value.items() if kind is dict else enumerate(value):
            if kind is dict:
                _check_key(key, called)
            check_json(item, f"{called}[{key!r}]", level + 1)
    elif kind is not bool and value is not None:
        raise ValueError(f"{called} is a {kind.__name__}, which JSON would not give back; expected {_EXPECTED}")


def _check_key(key: Any, called: str) -> None:
    if type(key) is not str:
        raise ValueError(f"{called} has the key {key!r}, a {type(key).__name__}; JSON has texts as keys only")
    check_unicode(key, f"a key of {called}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!a} stands twice in one object")
    return held


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _int(digits: str) -> int | float:
    if digits == "-0":
        return -0.0
    return math.inf if len(digits) > _MOST_DIGITS and math.isinf(float(digits)) else int(digits)


def _check_inside(value: Any, kinds: tuple[type, ...], level: int) -> None:
    """Raise ValueError for lists and objects too deep in each other, infinite numbers and texts that are no Unicode."""
    if isinstance(value, str):
        check_unicode(value, "a text")
        return
    if level == _DEEPEST:
        raise ValueError(_TOO_DEEP)
    items = value if isinstance(value, list) else [*value, *value.values()]
    if math.inf in items or -math.inf in items:
        raise ValueError("a number is beyond those of float64")
    for item in items:
        if isinstance(item, kinds):  # all but numbers, which are many
            _check_inside(item, kinds, level + 1)


def _short(value: int | float) -> str:
    return repr(value) if isinstance(value, float) else f"an int of {value.bit_length()} bits"
