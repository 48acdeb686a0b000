"""Chunks that say the same: near-copies of each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.number_formats import Int64
from .bank import VectorBank

ALIKE = 0.995  # the cosine from which on two chunks are near-copies
_FEW = 16  # copies of a chunk that are asked for at first; most have fewer


def near_copies_in(bank: VectorBank, vectors: Any) -> list[Int64]:
    """The near-copies of each of some vectors among all candidates, itself among them; exact.

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
        found = bank.band(vectors[open_rows], ALIKE, np.inf, limit)  # (R, limit)
        for row, ids in zip(open_rows.tolist(), found, strict=True):
            copies[row] = ids[ids >= 0]
        open_rows = open_rows[(found[:, -1] >= 0) & (limit < len(bank))]  # these may have more
        limit *= 16
    return copies
