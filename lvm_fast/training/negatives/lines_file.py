"""Negatives that a user supplies, as vectors or as chunks of the data: JSON lines, one a chunk (the CPESH form)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data.jsonl import read_jsonl
from ...data.number_formats import Float32, Int64
from ...data.vectors import Vectors
from ..load_data import TrainingData
from ..recipe import Recipe
from .hard_negatives import OwnNegatives, places_of, rows_in
from .jsonl_entries import Entries


class LinesFile(OwnNegatives):
    """What the lines ``{"id": chain, "chunk": place, "soft": [...], "hard": [...]}`` hold.

    "id" is a chain of the data and "chunk" a place in it, from 0: the wrong answers are those to this chunk as the
    right one. "soft" and "hard" are lists of vectors, of rows of the data, or of ["chain", place]; one of them may be
    left out, and other keys (the texts, say) are not read. Lines of held-out chains, and chunks of them that others
    name, are checked and left out.

    Raises:
        ValueError: A line that cannot be so, by number; or there is no negative of a kind asked for.
    """

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        super().__init__(recipe, data)
        self._entries = Entries(data.whole)
        training = {name: chain for chain, name in enumerate(self.store.ids)}
        places = places_of(rows_in(data.whole, self.store), len(data.whole.vectors))
        seen: dict[tuple[str, int], str] = {}
        brought: list[Float32] = [np.empty((0, self.store.dim), np.float32)]
        held = len(self.store.vectors)
        for place, record in read_jsonl(recipe.negatives):
            name, chunk, wrong = record["id"], *self._read(record, place)
            if (first := seen.setdefault((name, chunk), place)) != place:
                raise ValueError(f"{place}: chunk {chunk} of chain {name!r} again; it was in {first}")
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
        """The chunk's place in its chain, and its wrong answers by kind, as `Entries.read` gives them."""
        row = self._entries.row(record["id"], record.get("chunk"), f'{place}: "id" and "chunk"')
        kinds = [kind for kind in ("soft", "hard") if kind in record]
        if not kinds:
            raise ValueError(f'{place}: neither "soft" nor "hard" negatives; expected lists of them')
        return record["chunk"], {kind: self._entries.read(record[kind], row, f'{place}: "{kind}"') for kind in kinds}


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
