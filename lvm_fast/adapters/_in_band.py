"""Everything in a band of scores, however much it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..retrieval.bank import VectorBank

_FIRST_LIMIT = 64


class Found(NamedTuple):
    """What one query has found, best first.

    Attributes:
        scores: (n,) float64.
        ids: (n,) int64.
    """

    scores: NDArray[np.float64]
    ids: NDArray[np.int64]


def everything_in_band(
    bank: VectorBank, queries: NDArray[np.float32], low: float, high: float, exclude: NDArray[np.int64] | None = None
) -> list[Found]:
    """Return all candidates with low <= score < high of each query.

    Memory is that of the answer, some 8 times: queries whose list is full are asked again for longer ones.

    Args:
        bank: The candidates.
        queries: (B, D).
        low, high: The band.
        exclude: (B, E) ids not wanted.
    """
    found: dict[int, Found] = {}
    asked, limit = np.arange(len(queries)), _FIRST_LIMIT
    while len(asked):
        some = None if exclude is None else exclude[asked]
        scores, ids = bank.scored_band(queries[asked], low, high, limit, exclude=some)
        is_whole = (ids[:, -1] < 0) | (limit >= len(bank))
        for query, row_scores, row_ids in zip(asked[is_whole], scores[is_whole], ids[is_whole], strict=True):
            found[int(query)] = Found(row_scores[row_ids >= 0], row_ids[row_ids >= 0])
        asked, limit = asked[~is_whole], 8 * limit
    return [found[query] for query in range(len(queries))]
