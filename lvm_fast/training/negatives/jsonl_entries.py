"""Hard negatives that a user supplies as JSON lines, one a chunk (the CPESH form): vectors, or chunks of the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._util.did_you_mean import nearest
from ...data.chain_store import ChainStore
from ...data.jsonl import read_jsonl
from ...data.number_formats import Float32, Int64, check_rows
from ...data.vectors import Vectors
from ...ops.rowwise import l2_normalize
from ...retrieval.near_duplicates import ALIKE
from ..load_data import TrainingData
from ..recipe_sections import NegativesSection
from .hard_negatives import HardNegatives, places_of, rows_in

_FORMS = 'a list of vectors, of rows of the data, or of ["chain", place]'


class JsonlEntries(HardNegatives):
    """Reads the lines ``{"id": chain, "chunk": place, "soft": [...], "hard": [...]}``.

    "id" is a chain of the data and "chunk" a place in it, from 0: the wrong answers are those to this chunk as the
    right one. "soft" and "hard" are lists of vectors, of rows of the data, or of ["chain", place]; one of them may be
    left out, and other keys (the texts, say) are not read. Lines of held-out chains, and chunks of them that others
    name, are checked and left out.

    Raises:
        ValueError: A line that cannot be so, by number; or there is no negative of a kind asked for.
    """

    def __init__(self, recipe: NegativesSection, data: TrainingData) -> None:
        super().__init__(recipe, data)
        self._wrong_answers = _WrongAnswers(data.whole)
        training = {name: chain for chain, name in enumerate(self.store.ids)}
        places = places_of(rows_in(data.whole, self.store), len(data.whole.vectors))
        seen: dict[tuple[str, int], str] = {}
        brought: list[Float32] = [np.empty((0, self.store.dim), np.float32)]
        held = len(self.store.vectors)
        for place, record in read_jsonl(recipe.negatives):
            name, chunk, wrong = record["id"], *self._read(record, place)
            if (first := seen.setdefault((name, chunk), place)) != place:
                raise ValueError(
                    f"{place}: chunk {chunk} of chain {name!r} again; expected one line, and {first} is one"
                )
            if name not in training:
                continue
            row = int(self.store.offsets[training[name]]) + chunk
            for kind in self.kinds:
                given = wrong.get(kind.name, np.empty(0, np.int64))
                if given.ndim == 2:
                    brought.append(given[: recipe.negatives_limit])
                    ids = np.arange(held, held + len(brought[-1]))
                    held += len(ids)
                else:
                    ids = places[given][places[given] >= 0][: recipe.negatives_limit]
                self.tables[kind.name][row, : len(ids)] = ids
        for kind in self.kinds:
            if (self.tables[kind.name] < 0).all():
                raise ValueError(f'{recipe.negatives}: no "{kind.name}" negatives of a training chunk')
        self.vectors = _StoredAndBrought(self.store.vectors, np.concatenate(brought))
        self.count_each_once()

    def _read(self, record: dict[str, Any], place: str) -> tuple[int, dict[str, Any]]:
        """Return the chunk's place in its chain, and its wrong answers by kind, as `_WrongAnswers.read` gives them."""
        row = self._wrong_answers.row(record["id"], record.get("chunk"), f'{place}: "id" and "chunk"')
        kinds = [kind for kind in ("soft", "hard") if kind in record]
        if not kinds:
            raise ValueError(f'{place}: neither "soft" nor "hard" negatives; expected lists of them')
        return record["chunk"], {
            kind: self._wrong_answers.read(record[kind], row, f'{place}: "{kind}"') for kind in kinds
        }


class _StoredAndBrought:
    """The T rows of a store, and after them those that a file brings."""

    def __init__(self, stored: Vectors, brought: Float32) -> None:
        self.stored, self.brought = stored, brought

    def __getitem__(self, ids: Int64) -> Float32:
        rows = np.empty((len(ids), self.stored.shape[1]), np.float32)
        own = ids < len(self.stored)
        rows[own] = self.stored[ids[own]]
        rows[~own] = self.brought[ids[~own] - len(self.stored)]
        return rows


class _WrongAnswers:
    """Reads lists of wrong answers, each in one of three forms: vectors, rows of the data, or places in its chains.

    Args:
        store: The data, T chunks of width D, that rows and places are of.
    """

    def __init__(self, store: ChainStore) -> None:
        self._store, self._chains = store, {name: chain for chain, name in enumerate(store.ids)}

    def read(self, entries: Any, right: int, where: str) -> Int64 | Float32:
        """Read the wrong answers to the chunk in row `right`: rows of the data (K,) or vectors (K, D), checked.

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
        for called, row in taken.items():
            near = l2_normalize(vectors) @ l2_normalize(self._store.vectors[row]) >= ALIKE
            if near.any():
                raise ValueError(f"{where}: entry {int(near.argmax())} points at {called}; expected wrong answers")
        return vectors if rows is None else rows

    def row(self, chain: Any, place: Any, where: str) -> int:
        """Return the row of a place in a chain. Raises ValueError, beginning with `where`, where there is none."""
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
        """Return the rows that are named (K,); None where the entries are of another form."""
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
