"""The wording of "no such name": every room says it the same way and offers the nearest name that exists."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return a message such as ``unknown model 'memory_gur'; did you mean 'memory_gru'? There are: memory_gru``."""
    names = list(known)
    near = get_close_matches(str(name), names, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}; {guess}There are: {', '.join(names)}"
