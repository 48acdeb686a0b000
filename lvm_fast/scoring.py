"""Exact retrieval scoring: ranks, top-k, score bands and Hit@K over a bank of vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import Bank, Rows
from ._rows import is_tensor, rows_of

Result = TypeVar("Result")

SCORED = ("float32", "float16", "bfloat16")


class VectorBank:
    """Candidate vectors that answer exactly who scores best for a query.

    Scores are inner products of the stored values: float32 as they are, float16 and bfloat16 widened, int8 times its
    row's scale rounded to float32; with normalize=True rows and queries are first divided by their norm and rounded to
    float32. They are compared in float64, summed in one fixed order (`csrc/scoring/screen.h`), equal scores by lower
    id: the same result on every machine, instruction set and thread count. No (B, N) matrix is formed; memory is
    O(B * k + tile).

    Args:
        vectors: (N, D) float32, float16 or bfloat16 numpy array or torch CPU tensor, or `ChainStore.vectors` (int8
            too). The bank refers to it, without a copy where its rows are contiguous: do not change it afterwards.
        normalize: Score cosines instead of inner products.

    Raises:
        ValueError: wrong shape or dtype, no rows, a row with NaN or infinity, or a zero row with normalize=True.
    """

    def __init__(self, vectors: Any, normalize: bool = False) -> None:
        rows, self._memory = _matrix(vectors, "VectorBank: vectors")
        if rows.rows == 0 or rows.dim == 0:
            raise ValueError(
                f"VectorBank: vectors: expected at least one row and one column, got {tuple(vectors.shape)}"
            )
        self._bank = _renamed("VectorBank", Bank, rows, normalize)
        self._size, self.dim, self.normalize = rows.rows, rows.dim, normalize

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"VectorBank({self._size} x {self.dim}, normalize={self.normalize})"

    def rank(self, queries: Any, targets: ArrayLike, max_rank: int | None = None) -> NDArray[np.int64]:
        """How many candidates beat each query's target: 0 means the target is the best.

        Args:
            queries: (B, D) float32, float16 or bfloat16.
            targets: (B,) ids of candidates.
            max_rank: Stop counting there: any rank >= max_rank comes back as max_rank. Enough for Hit@max_rank.

        Returns:
            (B,) int64.
        """
        rows, memory = self._queries(queries, "rank")
        ids = _integers(targets, "VectorBank.rank: targets")
        if ids.shape != (rows.rows,):
            raise ValueError(f"VectorBank.rank: targets: expected shape ({rows.rows},), got {ids.shape}")
        most = self._size if max_rank is None else max_rank
        if most < 1:
            raise ValueError(f"VectorBank.rank: max_rank: expected at least 1, got {max_rank}")
        ranks = _renamed("VectorBank.rank", self._bank.rank, rows, ids, most)
        del memory
        return ranks

    def topk(self, queries: Any, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best candidates of each query, best first.

        Args:
            queries: (B, D) float32, float16 or bfloat16.
            k: How many, from 1 to len(bank).

        Returns:
            scores (B, k) float32 (infinite past float32's range) and ids (B, k) int64.
        """
        rows, memory = self._queries(queries, "topk")
        if not 1 <= k <= self._size:
            raise ValueError(f"VectorBank.topk: k: expected 1 to {self._size} (the bank's size), got {k}")
        best = _renamed("VectorBank.topk", self._bank.topk, rows, k)
        del memory
        return best

    def band(
        self,
        queries: Any,
        low: float,
        high: float,
        limit: int,
        exclude: ArrayLike | None = None,
        below: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Candidates whose score lies in a band, best first: hard or soft negatives, for instance.

        Args:
            queries: (B, D) float32, float16 or bfloat16.
            low, high: The band: low <= score < high. Equal bounds are an empty band.
            limit: At most so many ids a query.
            exclude: (B, E) ids never wanted, such as the positive; -1 stands for none.
            below: (B,) a further upper bound of each query: score < below.

        Returns:
            (B, limit) int64 ids, padded with -1.
        """
        rows, memory = self._queries(queries, "band")
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"VectorBank.band: low, high: expected low <= high, got {low} and {high}")
        if limit < 1:
            raise ValueError(f"VectorBank.band: limit: expected at least 1, got {limit}")
        excluded = None if exclude is None else _integers(exclude, "VectorBank.band: exclude")
        if excluded is not None:
            if excluded.ndim != 2 or len(excluded) != rows.rows:
                raise ValueError(f"VectorBank.band: exclude: expected shape ({rows.rows}, E), got {excluded.shape}")
            if excluded.size and not (excluded.min() >= -1 and excluded.max() < self._size):
                raise ValueError(f"VectorBank.band: exclude: expected ids in [0, {self._size}) or -1, got others")
        bounds = None if below is None else np.ascontiguousarray(_numpy(below), dtype=np.float64)
        if bounds is not None and (bounds.shape != (rows.rows,) or np.isnan(bounds).any()):
            raise ValueError(f"VectorBank.band: below: expected {rows.rows} numbers, got {bounds.shape} or NaN")
        ids = _renamed("VectorBank.band", self._bank.band, rows, float(low), float(high), limit, excluded, bounds)
        del memory
        return ids

    def _queries(self, queries: Any, method: str) -> tuple[Rows, Any]:
        where = f"VectorBank.{method}: queries"
        if is_tensor(queries):
            queries = queries.cpu()
        rows, memory = _matrix(queries, where)
        if rows.dim != self.dim:
            raise ValueError(f"{where}: expected {self.dim} columns like the bank, got {rows.dim}")
        return rows, memory


def hit_at_k(
    predictions: Any,
    targets: Any,
    ks: Sequence[int] = (1, 5, 10),
    bank: VectorBank | None = None,
    mrr: bool = True,
    normalize: bool = False,
) -> dict[str, float | int]:
    """The fraction of predictions whose true next vector is among the k best of the pool, exactly.

    Args:
        predictions: (B, D) float32, float16 or bfloat16.
        targets: (B, D) vectors: they are the pool, and row b is the target of prediction b; with a bank, (B,) ids.
        ks: Each at least 1. A k beyond the pool is always a hit, as the count says.
        bank: The pool, where it is more than the targets.
        mrr: Also the mean reciprocal rank (needs full ranks).
        normalize: Score cosines; with a bank, say so when making the bank.

    Returns:
        {"hit@1": fraction in [0, 1], ..., "mrr": ..., "pool": candidates, "queries": B}.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"hit_at_k: ks: expected numbers of at least 1, got {tuple(ks)}")
    if bank is None:
        bank = VectorBank(targets.cpu() if is_tensor(targets) else targets, normalize=normalize)
        targets = np.arange(len(bank))
    elif normalize and not bank.normalize:
        raise ValueError("hit_at_k: normalize: expected a VectorBank(..., normalize=True), got one of inner products")
    ranks = bank.rank(predictions, targets, None if mrr else max(ks))
    if len(ranks) == 0:
        raise ValueError("hit_at_k: predictions: expected at least one row, got none")
    figures: dict[str, float | int] = {f"hit@{k}": float(np.mean(ranks < k)) for k in ks}
    if mrr:
        figures["mrr"] = float(np.mean(1.0 / (ranks + 1)))
    return figures | {"pool": len(bank), "queries": len(ranks)}


def _matrix(x: Any, where: str) -> tuple[Rows, Any]:
    if getattr(x, "ndim", 2) != 2:
        raise ValueError(f"{where}: expected shape (rows, D), got {tuple(x.shape)}")
    return rows_of(x, where, SCORED)


def _numpy(x: Any) -> NDArray[Any]:
    return np.asarray(x.detach().cpu() if is_tensor(x) else x)


def _integers(x: Any, where: str) -> NDArray[np.int64]:
    ids = _numpy(x)
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{where}: expected whole-number ids, got {ids.dtype}")
    return np.ascontiguousarray(ids, dtype=np.int64)


def _renamed(where: str, call: Callable[..., Result], *arguments: Any) -> Result:
    """The core names the argument at fault; this puts the caller's name before it."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
