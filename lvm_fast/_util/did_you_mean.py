"""The wording of "no such name": every room says it the same way and offers the nearest name that exists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return a message such as ``unknown model 'memory_gur'; did you mean 'memory_gru'? There are: memory_gru``."""
    names = list(known)
    near = nearest(str(name), names)
    guess = f"did you mean {near!r}? There" if near else "there"
    return f"unknown {what} {name!r}; {guess} are: {', '.join(names)}"


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name spelled most alike; else one that abbreviates it (`lr`, learning_rate), or that it begins."""
    bare = name.lower().strip("-")
    spelled = {known.strip("-"): known for known in names}
    alike = [spelled[near] for near in get_close_matches(name.strip("-"), spelled, n=1)]
    initials = "".join(word[:1] for word in re.split("[-_]", bare))
    short = [known for known in names if known.strip("-") == initials]
    longer = [known for known in names if len(bare) > 2 and known.strip("-").startswith(bare)]
    return next(iter([*alike, *short, *longer]), None)
