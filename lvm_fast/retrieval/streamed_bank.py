"""The core's bank for candidates that stay on disk: it packs some at a time, asks them, and joins the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core import Bank, Rows
from ..ops.rows import rows_of

if TYPE_CHECKING:
    from ..data.vectors import Vectors

_PACKED_BYTES = 64 << 20  # of float32 numbers, packed at once


class StreamedBank:
    """Answers as `_core.Bank` over all rows would, bit for bit, in memory that does not grow with their number.

    Every question reads all rows: ask many at once.

    Args:
        vectors: (N, D) rows of several places, such as those of a store in several files.
        normalize: as in `VectorBank`.
    """

    def __init__(self, vectors: Vectors, normalize: bool) -> None:
        self._vectors, self._normalize = vectors, normalize

    def pair_scores(self, queries: Rows, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the score of each query with one candidate, (B,)."""
        asked, places = np.unique(ids, return_inverse=True)
        return self._bank_of(asked).pair_scores(queries, places.astype(np.int64))

    def rank(
        self, queries: Rows, scores: NDArray[np.float64], ids: NDArray[np.int64], first_id: int, max_rank: int
    ) -> NDArray[np.int64]:
        """Count the candidates that beat a score, (B,)."""
        counts = np.zeros(len(ids), np.int64)
        for first, bank in self._banks():
            counts += bank.rank(queries, scores, ids, first_id + first, max_rank)
        return np.minimum(counts, max_rank)

    def topk(self, queries: Rows, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the best candidates, (B, k) each."""
        best = _Best(queries.rows, k)
        for first, bank, size in self._sized_banks():
            best.add(*bank.topk(queries, min(k, size)), first)
        return best.scores, best.ids

    def band(
        self,
        queries: Rows,
        low: float,
        high: float,
        limit: int,
        exclude: NDArray[np.int64] | None,
        below: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the best candidates in a band of scores, (B, limit) each."""
        best = _Best(queries.rows, limit)
        for first, bank, size in self._sized_banks():
            here = None if exclude is None else _ids_within(exclude, first, size)
            best.add(*bank.band(queries, low, high, min(limit, size), here, below), first)
        return best.scores, best.ids

    def sum_exp(self, queries: Rows, factor: float, best: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of exp(factor * (score - best)), (B,)."""
        total = np.zeros(len(best))
        for _, bank in self._banks():
            total += bank.sum_exp(queries, factor, best)
        return total

    def packed(self) -> dict[str, NDArray[Any]]:
        """Raise ValueError: there is no packed form of them all."""
        raise ValueError("vectors: rows in several files have no packed form; expected rows in memory or in one file")

    def _banks(self) -> Iterator[tuple[int, Bank]]:
        return ((first, bank) for first, bank, _ in self._sized_banks())

    def _sized_banks(self) -> Iterator[tuple[int, Bank, int]]:
        """Give (id of the first candidate, a bank, its size); one bank is refilled again and again."""
        bank = None
        step = max(1, _PACKED_BYTES // (4 * self._vectors.shape[1]))
        for first in range(0, len(self._vectors), step):
            part = self._vectors.select(slice(first, first + step))
            rows = rows_of(part, "vectors")
            try:
                if bank is None:
                    bank = Bank(rows, self._normalize)
                else:
                    bank.refill(rows)
            except ValueError as error:
                raise ValueError(f"{error} (rows counted from {first})") from None
            yield first, bank, len(part)

    def _bank_of(self, ids: NDArray[np.int64]) -> Bank:
        return Bank(rows_of(self._vectors.select(ids), "vectors"), self._normalize)


class _Best:
    """The best candidates so far, best first, equal scores by lower id; padded with -infinity and -1."""

    def __init__(self, queries: int, most: int) -> None:
        self.scores = np.full((queries, most), -np.inf)
        self.ids = np.full((queries, most), -1, np.int64)

    def add(self, scores: NDArray[np.float64], ids: NDArray[np.int64], first: int) -> None:
        """Take in the best of some later candidates, whose ids count from `first`."""
        most = self.ids.shape[1]
        ids = np.where(ids >= 0, ids + first, -1)
        scores, ids = np.concatenate([self.scores, scores], axis=1), np.concatenate([self.ids, ids], axis=1)
        order = np.lexsort((ids, -scores, ids < 0), axis=1)[:, :most]
        self.scores, self.ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def _ids_within(ids: NDArray[np.int64], first: int, size: int) -> NDArray[np.int64]:
    here = ids - first
    return np.where((here >= 0) & (here < size) & (ids >= 0), here, -1)
