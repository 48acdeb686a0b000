"""Chunks that say the same: near-copies of each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.number_formats import Float32, Int64
from ..data.split import ALIKE as ALIKE
from .bank import VectorBank

_FEW = 16  # copies of a chunk that are asked for at first; most have fewer
_BLOCK_ROWS = 4096
_STREAMED_ROWS = 16 * _BLOCK_ROWS  # of a bank that reads all its candidates for each block


def near_copies_in(bank: VectorBank, vectors: Any) -> list[Int64]:
    """Return the near-copies of each of some vectors among all candidates, itself among them; exact.

    Args:
        bank: The candidates, with ``normalize=True``.
        vectors: (N, D) float32, float16 or bfloat16 rows, none of them zero.

    Returns:
        N arrays of ids, most alike first.
    """
    vectors = np.asarray(vectors)
    copies: list[Int64] = [np.empty(0, np.int64)] * len(vectors)
    open_rows, limit = np.arange(len(vectors)), _FEW
    while len(open_rows):
        limit = min(limit, len(bank))
        nearest = bank.band(vectors[open_rows], ALIKE, np.inf, limit)  # (R, limit)
        for row, ids in zip(open_rows.tolist(), nearest, strict=True):
            copies[row] = ids[ids >= 0]
        open_rows = open_rows[(nearest[:, -1] >= 0) & (limit < len(bank))]  # these may have more
        limit *= 16
    return copies


def best_cosines(vectors: Any, candidates: Any) -> Float32:
    """Find the best cosine of each vector with any candidate, exact.

    Args:
        vectors: (T, D): a store's `Vectors`, an array or a tensor.
        candidates: (N, D), likewise.

    Returns:
        (T,) float32.
    """
    bank = VectorBank(candidates, normalize=True)
    best = np.empty(len(vectors), np.float32)
    step = _STREAMED_ROWS if bank.is_streamed else _BLOCK_ROWS
    for first in range(0, len(best), step):
        scores, _ = bank.topk(vectors[first : first + step], 1)
        best[first : first + step] = scores[:, 0]
    return best
