"""What constructors and state dicts of models are checked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def check_sizes(model_type: str, **sizes: Any) -> None:
    """Raise ValueError unless every size is an integer of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{model_type}: {name} = {size!r}; expected an integer of at least 1")


def check_share(model_type: str, name: str, value: Any) -> None:
    """Raise ValueError unless the value is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{model_type}: {name} = {value!r}; expected a number from 0 to 1")


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
    found = (re.match(pattern, name) for name in state)
    return len({match[1] for match in found if match})


def recurrent_sizes(model_type: str, state: Mapping[str, Tensor], name: str) -> dict[str, int]:
    """Read width of the inputs, width and layers of the GRU or LSTM called `name`. Raises ValueError as `tensor_of`."""
    return {
        "input_dim": tensor_of(model_type, state, f"{name}.weight_ih_l0", 2).shape[1],
        "hidden_dim": tensor_of(model_type, state, f"{name}.weight_hh_l0", 2).shape[1],
        "num_layers": numbered(state, rf"{re.escape(name)}\.\w+_l(\d+)"),
    }
