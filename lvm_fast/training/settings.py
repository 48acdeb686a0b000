"""One setting of a recipe: what it means, what it may be, and how a value or a text becomes one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ..suggest import nearest


class Setting(NamedTuple):
    """What a setting means, and what it must be: in words, and as a test; and the texts that it may be."""

    meaning: str
    must_be: str = ""
    test: Callable[[Any], bool] = lambda _: True
    choices: tuple[str, ...] = ()


def positive(meaning: str) -> Setting:
    """A number above 0."""
    return Setting(meaning, "above 0", lambda value: value > 0)


def not_negative(meaning: str) -> Setting:
    """A number of at least 0."""
    return Setting(meaning, "at least 0", lambda value: value >= 0)


def count(meaning: str, least: int = 1) -> Setting:
    """A whole number of at least `least`, or nothing."""
    return Setting(meaning, f"at least {least}", lambda value: value is None or value >= least)


def within(low: float, high: float, meaning: str) -> Setting:
    """A number from `low` to `high`."""
    return Setting(meaning, f"from {low:g} to {high:g}", lambda value: low <= value <= high)


def one_of(meaning: str, *values: str) -> Setting:
    """One of these texts."""
    return Setting(meaning, " or ".join(map(repr, values)), lambda value: value in values, values)


def cosine_range(meaning: str) -> Setting:
    """Two cosines, the lower first."""
    fits = "two cosines from -1 to 1, the lower first"
    return Setting(meaning, fits, lambda ends: len(ends) == 2 and -1.0 <= ends[0] < ends[1] <= 1.0)


def checked(value: Any, about: Setting, kinds: tuple[Any, ...], called: str) -> Any:
    """Bring a value to its type, one of `kinds`; ``(Any,)`` is anything, ``(list,)`` a list of numbers.

    Raises:
        ValueError: It does not fit; the message begins with `called`.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if list in kinds:
        return _checked_numbers(value, about, called)
    fits = Any in kinds or type(value) in kinds or (float in kinds and _is_number(value))
    if not fits or (_is_number(value) and not math.isfinite(value)) or not about.test(value):
        words = " or ".join(kind.__name__.replace("NoneType", "nothing") for kind in kinds)
        expected = f"{words}, {about.must_be}".rstrip(", ")
        near = nearest(value, about.choices) if isinstance(value, str) else None
        guess = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"{called} = {value!r}; expected {expected}{guess}")
    return float(value) if float in kinds else value


def read(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Read a text for a setting that is no text: flags are texts, and so is YAML's ``1e-4``."""
    if list in kinds and isinstance(value, list):
        return [_number(text, (float,)) for text in value]
    if not isinstance(value, str) or Any in kinds:
        return value
    if type(None) in kinds and value.lower() in ("none", "null"):
        return None
    return _number(value, tuple(kind for kind in (int, float) if kind in kinds))


def _checked_numbers(values: Any, about: Setting, called: str) -> list[float]:
    if not isinstance(values, list | tuple) or not all(map(_is_number, values)) or not about.test(values):
        raise ValueError(f"{called} = {values!r}; expected {about.must_be}")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: Any, kinds: tuple[type, ...]) -> Any:
    """A text as the first of these kinds that can read it; anything else as it is."""
    for kind in kinds if isinstance(text, str) else ():
        with suppress(ValueError):
            return kind(text)
    return text
