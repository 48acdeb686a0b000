"""Negatives that `lvm-fast mine` has written: ids of the training store, or of the data it is a part of."""

from __future__ import annotations

import numpy as np

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...retrieval.mined import MinedNegatives
from ...retrieval.near_duplicates import ALIKE
from ..load_data import TrainingData
from ..recipe import Recipe
from .hard_negatives import OwnNegatives, first_ids, places_of, rows_in


class IdsFile(OwnNegatives):
    """The file's negatives of each chunk, as soft or hard ones by their cosine; held-out chunks are left out.

    Raises:
        ValueError: The file was mined from another store, none of its cosines lies in a band asked for, or a row points
            at the chunk before it, which every prediction of this chunk is made from.
    """

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        super().__init__(recipe, data)
        mined, where = MinedNegatives.open(recipe.negatives), f"train: negatives: {recipe.negatives}"
        whole = self._mined_from(mined, data, where)
        rows = rows_in(whole, self.store)  # (T,)
        ids, scores = mined.ids[rows], mined.scores[rows]  # (T, limit)
        self._check(ids, rows, where)
        places = places_of(rows, len(whole.vectors))
        for kind in self.kinds:
            inside = (kind.low <= scores) & (scores < min(kind.high, ALIKE)) & (places[ids] >= 0)
            if not inside.any():
                lowest, highest = scores[ids >= 0].min(initial=np.inf), scores.max()
                raise ValueError(
                    f"{where}: no {kind.name} negative of a training chunk, cosines {kind.low:g} to {kind.high:g}; "
                    f"the file has {lowest:.2f} to {highest:.2f}"
                )
            self.tables[kind.name] = first_ids(places[ids], inside, recipe.negatives_limit)
        self.count_each_once()

    def _mined_from(self, mined: MinedNegatives, data: TrainingData, where: str) -> ChainStore:
        for store in (self.store, data.whole):
            if len(store.vectors) == len(mined) and store.fingerprint() == mined.store_fingerprint:
                return store
        expected = "the data of this training, or its training part"
        raise ValueError(f"{where}: mined from another store of {len(mined)} rows; expected {expected}")

    def _check(self, ids: Int64, rows: Int64, where: str) -> None:
        is_first = np.isin(np.arange(len(rows)), self.store.offsets)
        bad = np.flatnonzero((ids == rows[:, None] - 1).any(axis=1) & ~is_first)
        if len(bad):
            row = rows[bad[0]]
            raise ValueError(
                f"{where}: row {row} points at row {row - 1}, the chunk before it, and {len(bad) - 1} more rows do so; "
                "expected negatives mined with exclude_within of at least 1"
            )
