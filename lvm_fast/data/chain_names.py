"""Names for the pieces of cut chains, which nothing else is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def free_mark(mark: str, pieces: Callable[[str], Iterable[str]], taken: Iterable[str]) -> str:
    """Return a mark, such as "#" in "chain#2", as often as it takes for no piece to be called as a chain is.

    Args:
        mark: One character.
        pieces: Gives the names of the pieces with a mark.
        taken: The names of the chains before the cut.
    """
    held, marks = set(taken), mark
    while any(name in held for name in pieces(marks)):
        marks += mark
    return marks
