"""What a list of wrong answers in a user's JSON line may hold: vectors, rows of the data, or places in its chains."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._util.did_you_mean import nearest
from ...data.chain_store import ChainStore
from ...data.number_formats import Float32, Int64, check_rows
from ...ops.rowwise import l2_normalize
from ...retrieval.near_duplicates import ALIKE

_FORMS = 'a list of vectors, of rows of the data, or of ["chain", place]'


class Entries:
    """Reads lists of wrong answers, each in one of three forms.

    Args:
        store: The data, T chunks of width D, that rows and places are of.
    """

    def __init__(self, store: ChainStore) -> None:
        self._store, self._chains = store, {name: chain for chain, name in enumerate(store.ids)}

    def read(self, entries: Any, right: int, where: str) -> Int64 | Float32:
        """The wrong answers to the chunk in row `right`: rows of the data (K,) or vectors (K, D), checked.

        Raises:
            ValueError: A row or a place that is not in the data, numbers that are none, or a wrong answer that is the
                right one, the chunk before it or a near-copy of either; the message begins with `where`.
        """
        if not isinstance(entries, list):
            raise ValueError(f"{where} is a {type(entries).__name__}; expected {_FORMS}")
        rows = self._rows(entries, where)
        vectors = _vectors(entries, where, self._store.dim) if rows is None else self._store.vectors[rows]
        is_first = right == self._store.offsets[self._store.chain_of(right)]
        taken = {"the chunk itself": right} | ({} if is_first else {"the chunk before it": right - 1})
        for words, row in taken.items():
            near = l2_normalize(vectors) @ l2_normalize(self._store.vectors[row]) >= ALIKE
            if near.any():
                raise ValueError(f"{where}: entry {int(near.argmax())} points at {words}; expected wrong answers")
        return vectors if rows is None else rows

    def row(self, chain: Any, place: Any, where: str) -> int:
        """The row of a place in a chain. Raises ValueError where there is none; the message begins with `where`."""
        if not isinstance(chain, str) or chain not in self._chains:
            near = nearest(str(chain), self._store.ids)
            guess = f" (did you mean {near!r}?)" if near else ""
            raise ValueError(f"{where}: {chain!r} is no chain of the data{guess}")
        number = self._chains[chain]
        length = int(self._store.lengths[number])
        if type(place) is not int or not 0 <= place < length:
            raise ValueError(
                f"{where}: {place!r} is no place in {chain!r}; expected a whole number from 0 to {length - 1}"
            )
        return int(self._store.offsets[number]) + place

    def _rows(self, entries: list[Any], where: str) -> Int64 | None:
        """The rows that are named (K,); None where the entries are of another form."""
        if all(type(entry) is int for entry in entries):
            last = len(self._store.vectors) - 1
            for number, row in enumerate(entries):
                if not 0 <= row <= last:
                    raise ValueError(f"{where}: entry {number} is row {row}; expected a row of the data, 0 to {last}")
            return np.array(entries, np.int64)
        if all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) for entry in entries):
            places = ((*entry, f"{where}: entry {number}") for number, entry in enumerate(entries))
            return np.array([self.row(*place) for place in places], np.int64)
        return None


def _vectors(entries: list[Any], where: str, dim: int) -> Float32:
    for number, entry in enumerate(entries):
        if not isinstance(entry, list) or not set(map(type, entry)) <= {int, float}:
            raise ValueError(f"{where}: entry {number} is no list of numbers; expected {_FORMS}")
        if len(entry) != dim:
            raise ValueError(f"{where}: entry {number} has {len(entry)} numbers; expected vectors of {dim}")
    with np.errstate(over="ignore"):  # becomes Inf, which check_rows reports
        rows = np.array(entries, np.float64).astype(np.float32)
    check_rows(rows, where)
    return rows
