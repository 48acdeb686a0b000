"""Checks of the arguments of models' constructors, and of their state dicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .._util.numbers import plain, real_number, whole_number


def check_sizes(model_type: str, **sizes: Any) -> dict[str, int]:
    """Return sizes as ints. Raises ValueError unless every one is a whole number of at least 1."""
    return {name: size(value, f"{model_type}: {name}") for name, value in sizes.items()}


def check_fraction(model_type: str, name: str, value: Any) -> float:
    """Return a fraction as a float. Raises ValueError unless it is a number from 0 to 1."""
    try:
        return real_number(value, name, 0, 1)
    except ValueError:
        raise ValueError(f"{model_type}: {name} = {plain(value)!r}; expected a number from 0 to 1") from None


def configured(name: str, check: Callable[[Any, str], Any]) -> Any:
    """Return a property for an attribute that is a constructor argument: its value is the one in the model's config.

    What changes it changes what is saved and exported, too.

    Args:
        name: The argument.
        check: Makes a value plain, or raises ValueError; called with the value and what messages call it.
    """

    def read(model: Any) -> Any:
        return model.config[name]

    def write(model: Any, value: Any) -> None:
        model.config[name] = check(value, f"{model.model_type}: {name}")

    return property(read, write)


def size(value: Any, called: str) -> int:
    """Return a size as an int. Raises ValueError, whose message begins with `called`, for what is none."""
    try:
        return whole_number(value, called, least=1)
    except ValueError:
        raise ValueError(f"{called} = {plain(value)!r}; expected an integer of at least 1") from None


def tensor_of(model_type: str, state: Mapping[str, Tensor], name: str, ndim: int) -> Tensor:
    """Return the tensor called `name`; raise ValueError where the state dict lacks it or it has another rank."""
    if name not in state:
        raise ValueError(f"{model_type}: the state dict has no tensor {name!r}; is it one of a {model_type}?")
    if state[name].ndim != ndim:
        got = tuple(state[name].shape)
        raise ValueError(f"{model_type}: tensor {name!r} has shape {got}; expected {ndim} dimensions")
    return state[name]


def numbered(state: Mapping[str, Tensor], pattern: str) -> int:
    """Count the different numbers that a group of the pattern finds in the names of a state dict."""
    matches = (re.match(pattern, name) for name in state)
    return len({match[1] for match in matches if match})


def recurrent_sizes(model_type: str, state: Mapping[str, Tensor], name: str) -> dict[str, int]:
    """Read width of the inputs, width and layers of the GRU or LSTM called `name`. Raises ValueError as `tensor_of`."""
    return {
        "input_dim": tensor_of(model_type, state, f"{name}.weight_ih_l0", 2).shape[1],
        "hidden_dim": tensor_of(model_type, state, f"{name}.weight_hh_l0", 2).shape[1],
        "num_layers": numbered(state, rf"{re.escape(name)}\.\w+_l(\d+)"),
    }
