"""Numbers and truth values as callers have them (numpy's scalars, tensors of one number), made Python's own."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any


def whole_number(value: Any, called: str, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number as an int: Python's, numpy's, or an integer tensor of one number; no bool, no float.

    Raises:
        ValueError: It is something else, or not from `least` to `most`; the message begins with `called`.
    """
    number = None if _is_truth(value) else _index(value)
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{called}: expected a whole number{_limits(least, most)}, got {plain(value)!r}")
    return number


def real_number(value: Any, called: str, least: float | None = None, most: float | None = None) -> float:
    """Return a finite number as a float: Python's, numpy's, or a tensor of one number; no bool, no text.

    Raises:
        ValueError: It is something else, NaN, infinite, or not from `least` to `most`; the message begins with
            `called`.
    """
    number = _real(value)
    fits = number is not None and math.isfinite(number)
    if not fits or (least is not None and number < least) or (most is not None and number > most):  # type: ignore[operator]
        raise ValueError(f"{called}: expected a finite number{_limits(least, most)}, got {plain(value)!r}")
    assert number is not None
    return number


def any_number(value: Any, called: str) -> float:
    """Return a number as `real_number` does, NaN and infinity among them."""
    number = _real(value)
    if number is None:
        raise ValueError(f"{called}: expected a number, got {plain(value)!r}")
    return number


def truth_value(value: Any, called: str) -> bool:
    """Return Python's or numpy's True or False as a bool. Raises ValueError beginning with `called` for all else."""
    if not _is_truth(value):
        raise ValueError(f"{called}: expected True or False, got {plain(value)!r}")
    return bool(value)


def plain(value: Any) -> Any:
    """Return the value with numpy's scalars, in mappings, lists and tuples too, made Python's own."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    is_numpy_scalar = type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0
    return value.item() if is_numpy_scalar else value


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _real(value: Any) -> float | None:
    return None if _is_truth(value) or isinstance(value, str | bytes) else _float(value)


def _index(value: Any) -> int | None:
    if getattr(value, "ndim", 0) != 0:
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _float(value: Any) -> float | None:
    if getattr(value, "ndim", 0) != 0 or isinstance(value, complex):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def _limits(least: float | None, most: float | None) -> str:
    if least is None and most is None:
        return ""
    if most is None:
        return f" of at least {least:g}" if isinstance(least, float) else f" of at least {least}"
    return f" of at most {most}" if least is None else f" from {least} to {most}"
