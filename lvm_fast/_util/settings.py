"""Describes a setting: its meaning and what it may be. Checks values, and reads texts as values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .did_you_mean import nearest
from .numbers import plain
from .paths import expanded

_MOST = 2**53  # of a whole number: sums and products of row numbers stay within 64 bits
_MOST_SEED = 2**64 - 1  # what torch takes


class Setting(NamedTuple):
    """The meaning of a setting, what it must be (as text and as a test), and the texts that it may be.

    A path may begin with `~`, the home folder. No number is larger than `most`.
    """

    meaning: str
    must_be: str = ""
    test: Callable[[Any], bool] = lambda _: True
    choices: tuple[str, ...] = ()
    is_path: bool = False
    most: int = _MOST


def positive(meaning: str) -> Setting:
    """Describe a number above 0."""
    return Setting(meaning, "above 0", lambda value: value > 0)


def not_negative(meaning: str) -> Setting:
    """Describe a number of at least 0."""
    return Setting(meaning, "at least 0", lambda value: value >= 0)


def count(meaning: str, least: int = 1) -> Setting:
    """Describe a whole number of at least `least`, or nothing."""
    return Setting(meaning, f"at least {least}", lambda value: value is None or value >= least)


def seed_of(meaning: str) -> Setting:
    """Describe a seed that numpy and torch take."""
    return not_negative(meaning)._replace(most=_MOST_SEED)


def path_of(meaning: str, *names: str) -> Setting:
    """Describe a path, or one of these names, which are none."""
    return Setting(meaning, choices=names, is_path=True)


def within(low: float, high: float, meaning: str) -> Setting:
    """Describe a number from `low` to `high`."""
    return Setting(meaning, f"from {low:g} to {high:g}", lambda value: value is None or low <= value <= high)


def one_of(meaning: str, *values: str) -> Setting:
    """Describe one of these texts."""
    return Setting(meaning, " or ".join(map(repr, values)), lambda value: value in values, values)


def names_of(meaning: str, *values: str) -> Setting:
    """Describe some of these texts, none of them twice."""
    fits = f"some of {', '.join(values)}, each once"
    return Setting(meaning, fits, lambda names: set(names) <= set(values) and len(set(names)) == len(names), values)


def cosine_range(meaning: str) -> Setting:
    """Describe two cosines, the lower first."""
    fits = "two cosines from -1 to 1, the lower first"
    return Setting(meaning, fits, lambda ends: len(ends) == 2 and -1.0 <= ends[0] < ends[1] <= 1.0)


def checked(value: Any, about: Setting, kinds: tuple[Any, ...], called: str) -> Any:
    """Bring a value to its type, one of `kinds`; ``(Any,)`` is anything, ``(list,)`` a list of numbers.

    Numbers and truth values of numpy become Python's.

    Raises:
        ValueError: It does not fit; the message begins with `called`.
    """
    value = plain(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if list in kinds:
        return _checked_names(value, about, called) if about.choices else _checked_numbers(value, about, called)
    fits = Any in kinds or type(value) in kinds or (float in kinds and _is_number(value))
    if not fits or (_is_number(value) and not _is_finite(value)) or not about.test(value):
        types = " or ".join(kind.__name__.replace("NoneType", "nothing") for kind in kinds)
        expected = f"{types}, {about.must_be}".rstrip(", ")
        near = nearest(value, about.choices) if isinstance(value, str) else None
        guess = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"{called} = {value!r}; expected {expected}{guess}")
    if about.is_path and isinstance(value, str):
        return expanded(value, called)
    for name, number in value.items() if isinstance(value, dict) else [("", value)]:
        if _is_number(number) and abs(number) > about.most:
            expected = f"at most {about.most}"
            raise ValueError(f"{f'{called}: {name}'.rstrip(': ')} = {number!r}; expected {expected}")
    return float(value) if float in kinds and value is not None else value


def read(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Read a text for a setting that is no text, as YAML 1.2 does: flags are texts, and so is a quoted number.

    Raises:
        ValueError: A number has more digits than Python reads.
    """
    if list in kinds and isinstance(value, list):
        return [_read_number(item) for item in value]
    if dict in kinds and isinstance(value, Mapping):
        return {key: _read_number(item) for key, item in value.items()}
    if not isinstance(value, str) or Any in kinds:
        return value
    if type(None) in kinds and value.lower() in ("none", "null"):
        return None
    return _read_number(value) if {int, float} & set(kinds) else value


def _checked_names(values: Any, about: Setting, called: str) -> list[str]:
    if not isinstance(values, list | tuple) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{called} = {values!r}; expected a list: {about.must_be}")
    if not about.test(values):
        unknown = next((name for name in values if name not in about.choices), None)
        near = None if unknown is None else nearest(unknown, about.choices)
        raise ValueError(
            f"{called} = {values!r}; expected {about.must_be}{f'; did you mean {near!r}?' if near else ''}"
        )
    return list(values)


def _checked_numbers(values: Any, about: Setting, called: str) -> list[float]:
    if not isinstance(values, list | tuple) or not all(map(_is_number, values)) or not about.test(values):
        raise ValueError(f"{called} = {values!r}; expected {about.must_be}")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(number: float) -> bool:
    return isinstance(number, int) or math.isfinite(number)  # a whole number may be beyond every float


def _read_number(value: Any) -> Any:
    """Read a text that is a number as that number; leave anything else as it is."""
    from .yaml12 import number_in

    number = number_in(value) if isinstance(value, str) else None
    return value if number is None else number
