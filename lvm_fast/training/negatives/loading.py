"""From a line of the registry to the class."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_class(place: str) -> Any:
    """Return the class at ``module:class`` of this package."""
    module, _, name = place.partition(":")
    return getattr(import_module(f".{module}", __package__), name)
