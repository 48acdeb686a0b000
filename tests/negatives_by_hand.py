"""What negatives must be, by definition, one target after the other; and the recipe that the tests of them share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.ops.rowwise import l2_normalize
from lvm_fast.training.recipe import Recipe

SETTINGS = {
    "model": {"hidden_dim": 12, "num_layers": 2, "memory_slots": 8},
    "context_length": 6,
    "stride": 1,
    "val_fraction": 0.25,
    "enable_soft_negatives": True,
    "enable_hard_negatives": True,
    "negatives_limit": 3,
    "negatives_exclude_within": 2,
    "device": "cpu",
    "tensorboard": False,
}


def unit(store: ChainStore) -> NDArray[np.float64]:
    """The store's rows (T, D) at unit length."""
    wide = store.vectors[:].astype(np.float64)
    rows: NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return rows


def mined_by_hand(
    store: ChainStore, queries: dict[int, NDArray[np.float64]], recipe: Recipe
) -> dict[str, dict[int, list[int]]]:
    """By kind and target, what the definition says: queries are unit vectors by target row."""
    rows, chains = unit(store), store.chain_of(np.arange(len(store.vectors)))
    bands = {"hard": recipe.hard_negative_cosine_range, "soft": recipe.soft_negative_cosine_range}
    found: dict[str, dict[int, list[int]]] = {kind: {} for kind in bands}
    for target, query in queries.items():
        scores = (rows * query).sum(axis=1)  # equal for equal rows
        false = (chains == chains[target]) & (np.abs(np.arange(len(rows)) - target) <= recipe.negatives_exclude_within)
        false |= (rows @ rows[target] >= 0.995) | (scores >= 0.95 * scores[target])
        for kind, (low, high) in bands.items():
            ids = np.flatnonzero((low <= scores) & (scores < high) & ~false)
            found[kind][target] = ids[np.argsort(-scores[ids], kind="stable")][: recipe.negatives_limit].tolist()
        found["soft"][target] = [row for row in found["soft"][target] if row not in found["hard"][target]]
    return found


def lists(table: NDArray[np.int64]) -> list[list[int]]:
    """The ids of each row, without padding."""
    return [[i for i in row if i >= 0] for row in table.tolist()]


def of_by_hand(vectors: NDArray[Any], own: Any, targets: list[int]) -> list[NDArray[np.float32]]:
    """What `of` must give: the unit vectors of each target's ids, kind after kind."""
    ids = [[i for table in own.tables.values() for i in table[target] if i >= 0] for target in targets]
    return [l2_normalize(vectors[np.array(row, np.int64)]) for row in ids]
