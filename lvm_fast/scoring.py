"""Exact retrieval scoring: ranks, top-k, score bands and Hit@K over a bank of vectors."""

from __future__ import annotations

import math
import operator
import os
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
    O(B * k + tile). `docs/scoring.md` tells how.

    The bank refers to the array it is given (a copy is made only where its rows are not contiguous): do not change it
    afterwards. Beside it the bank keeps a packed form of 2 bytes a number.

    Args:
        vectors: (N, D) float32, float16 or bfloat16 numpy array or torch CPU tensor, or `ChainStore.vectors` (int8
            too); D at most 65,536.
        normalize: Score cosines instead of inner products.

    Raises:
        ValueError: wrong shape or dtype, no rows, a row with NaN or infinity, or a zero row with normalize=True.
    """

    def __init__(self, vectors: Any, normalize: bool = False) -> None:
        rows, self._memory = _bank_rows(vectors, "VectorBank")
        self._bank = _renamed("VectorBank", Bank, rows, normalize)
        self._vectors = vectors
        self._size, self.dim, self.normalize = rows.rows, rows.dim, normalize

    def refill(self, vectors: Any) -> None:
        """Refer to other vectors from now on, packed into this bank's memory: quicker than a new bank.

        Args:
            vectors: (N', D) as the constructor takes them; N' may differ.

        Raises:
            ValueError: as the constructor, or another D. After a row that could not be packed the bank is
                empty and refuses questions until it is refilled.

        Not while another thread asks this bank or saves it.
        """
        rows, memory = _bank_rows(vectors, "VectorBank.refill")
        if rows.dim != self.dim:
            raise ValueError(f"VectorBank.refill: vectors: expected {self.dim} columns, got {rows.dim}")
        self._size = 0
        _renamed("VectorBank.refill", self._bank.refill, rows)
        self._vectors, self._memory, self._size = vectors, memory, rows.rows

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save vectors and packed form as one `.safetensors` file, atomically; `VectorBank.open` maps it.

        Raises:
            OSError: the file cannot be written; nothing is left behind.
        """
        if self._size == 0:
            raise ValueError("VectorBank.save: the last refill failed; expected a bank that holds vectors")
        from .bank_file import write_bank
        from .data.vectors import Vectors

        write_bank(path, Vectors.of(self._vectors, None, "VectorBank.save"), self._bank.packed())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> VectorBank:
        """Map a saved bank: the time does not depend on its size. Some rows are checked against their packed form.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is truncated, not a bank, or its packed form does not belong to its vectors.
        """
        from .bank_file import read_bank

        where = f"VectorBank.open: {os.fspath(path)}"
        vectors, packed = read_bank(path, where)
        rows, memory = _bank_rows(vectors, where)
        arrays = (packed[name] for name in ("coarse", "fine", "bounds"))
        bank = cls.__new__(cls)
        bank._bank = _renamed(where, Bank.open, rows, *arrays, packed.get("factors"))
        bank._vectors, bank._memory = vectors, memory
        bank._size, bank.dim, bank.normalize = rows.rows, rows.dim, "factors" in packed
        bank._check_some_rows(where)
        return bank

    def _check_some_rows(self, where: str) -> None:
        """Packs a few rows again: a packed form that belongs to other vectors would decide wrongly."""
        chosen = np.unique(np.linspace(0, self._size - 1, 64).astype(np.int64))
        try:
            fresh = VectorBank(_picked(self._vectors, chosen), self.normalize)._bank.packed()
        except ValueError:
            problem = "the vectors hold a row that no bank takes; expected the file as it was saved"
            raise ValueError(f"{where}: {problem}") from None
        held = self._bank.packed()
        for name in ("bounds", "factors"):
            if name in held and not np.allclose(held[name][chosen], fresh[name][: len(chosen)], rtol=0.02, atol=0):
                raise ValueError(f"{where}: '{name}' does not belong to the vectors; expected the file as it was saved")
        again = np.arange(len(chosen))
        for name in ("coarse", "fine"):
            if not np.array_equal(_codes(held[name], chosen, self.dim), _codes(fresh[name], again, self.dim)):
                raise ValueError(f"{where}: '{name}' does not belong to the vectors; expected the file as it was saved")

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
        ids = _one_id_a_query(targets, rows.rows, "VectorBank.rank: targets")
        most = self._size if max_rank is None else _whole(max_rank, "VectorBank.rank: max_rank")
        scores = _renamed("VectorBank.rank", self._bank.pair_scores, rows, ids)
        ranks = _renamed("VectorBank.rank", self._bank.rank, rows, scores, ids, 0, most)
        del memory
        return ranks

    def pair_scores(self, queries: Any, targets: ArrayLike) -> NDArray[np.float64]:
        """The exact score of each query and one candidate.

        Args:
            queries: (B, D) float32, float16 or bfloat16.
            targets: (B,) ids of candidates.

        Returns:
            (B,) float64.
        """
        rows, memory = self._queries(queries, "pair_scores")
        ids = _one_id_a_query(targets, rows.rows, "VectorBank.pair_scores: targets")
        scores = _renamed("VectorBank.pair_scores", self._bank.pair_scores, rows, ids)
        del memory
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores)))
            problem = "holds NaN or infinity, or is all zeros where a direction is needed"
            raise ValueError(f"VectorBank.pair_scores: queries: row {row} {problem}; expected finite numbers")
        return scores

    def topk(self, queries: Any, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best candidates of each query, best first.

        Args:
            queries: (B, D) float32, float16 or bfloat16.
            k: How many, from 1 to len(bank).

        Returns:
            scores (B, k) float32 (infinite past float32's range) and ids (B, k) int64.
        """
        rows, memory = self._queries(queries, "topk")
        if not _whole(k, "VectorBank.topk: k") <= self._size:
            raise ValueError(f"VectorBank.topk: k: expected 1 to {self._size} (the bank's size), got {k}")
        scores, ids = _renamed("VectorBank.topk", self._bank.topk, rows, k)
        del memory
        with np.errstate(over="ignore"):
            return scores.astype(np.float32), ids

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
        return self.scored_band(queries, low, high, limit, exclude, below)[1]

    def scored_band(
        self,
        queries: Any,
        low: float,
        high: float,
        limit: int,
        exclude: ArrayLike | None = None,
        below: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """`band`, with the scores that decided.

        Returns:
            scores (B, limit) float64, padded with -infinity, and ids (B, limit) int64, padded with -1.
        """
        rows, memory = self._queries(queries, "band")
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"VectorBank.band: low, high: expected low <= high, got {low} and {high}")
        limit = _whole(limit, "VectorBank.band: limit")
        excluded = None if exclude is None else _integers(exclude, "VectorBank.band: exclude")
        if excluded is not None:
            if excluded.ndim != 2 or len(excluded) != rows.rows:
                raise ValueError(f"VectorBank.band: exclude: expected shape ({rows.rows}, E), got {excluded.shape}")
            if excluded.size and not (excluded.min() >= -1 and excluded.max() < self._size):
                raise ValueError(f"VectorBank.band: exclude: expected ids in [0, {self._size}) or -1, got others")
        bounds = None if below is None else np.ascontiguousarray(_numpy(below), dtype=np.float64)
        if bounds is not None and (bounds.shape != (rows.rows,) or np.isnan(bounds).any()):
            raise ValueError(f"VectorBank.band: below: expected {rows.rows} numbers, got {bounds.shape} or NaN")
        band = self._bank.band
        found = _renamed("VectorBank.band", band, rows, float(low), float(high), limit, excluded, bounds)
        del memory
        return found

    def logsumexp(self, queries: Any, scale: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """log sum exp(scale * score) over the whole bank, and the best candidate: a softmax's normaliser.

        The best is exact. The sum takes float32 scores (error at most about D * 2^-24 * ||query|| * ||row|| each), so
        its logarithm is off by at most `scale` times that. No gradient.

        Args:
            queries: (B, D) float32, float16 or bfloat16.
            scale: Positive; the inverse of a temperature.

        Returns:
            (B,) float32 and (B,) int64 ids.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"VectorBank.logsumexp: scale: expected a positive number, got {scale}")
        rows, memory = self._queries(queries, "logsumexp")
        best, ids = _renamed("VectorBank.logsumexp", self._bank.topk, rows, 1)
        sums = self._bank.sum_exp(rows, float(scale), best[:, 0])
        del memory
        if not np.isfinite(sums).all():
            raise ValueError("VectorBank.logsumexp: queries: expected scores within float32's range, got larger ones")
        return (scale * best[:, 0] + np.log(sums)).astype(np.float32), ids[:, 0]

    def _queries(self, queries: Any, method: str) -> tuple[Rows, Any]:
        where = f"VectorBank.{method}: queries"
        if self._size == 0:
            raise ValueError(f"VectorBank.{method}: the last refill failed; expected a bank that holds vectors")
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
    if not ks:
        raise ValueError("hit_at_k: ks: expected at least one number, got none")
    ks = [_whole(k, "hit_at_k: ks") for k in ks]
    if bank is None:
        pool = targets.cpu() if is_tensor(targets) else targets
        bank = _for_hit_at_k(VectorBank, pool, normalize)
        if len(predictions) != len(bank):
            raise ValueError(f"hit_at_k: targets: expected {len(predictions)} rows, one a prediction, got {len(bank)}")
        targets = np.arange(len(bank))
    elif normalize and not bank.normalize:
        raise ValueError("hit_at_k: normalize: expected a VectorBank(..., normalize=True), got one of inner products")
    ranks = _for_hit_at_k(bank.rank, predictions, targets, None if mrr else max(ks))
    if len(ranks) == 0:
        raise ValueError("hit_at_k: predictions: expected at least one row, got none")
    figures: dict[str, float | int] = {f"hit@{k}": float(np.mean(ranks < k)) for k in ks}
    if mrr:
        figures["mrr"] = float(np.mean(1.0 / (ranks + 1)))
    return figures | {"pool": len(bank), "queries": len(ranks)}


_NAMES_IN_HIT_AT_K = {
    "VectorBank: vectors": "hit_at_k: targets",
    "VectorBank.rank: queries": "hit_at_k: predictions",
    "VectorBank.rank: targets": "hit_at_k: targets",
}


def _for_hit_at_k(call: Callable[..., Result], *arguments: Any) -> Result:
    """The bank names its own arguments as at fault; this names those of `hit_at_k`."""
    try:
        return call(*arguments)
    except ValueError as error:
        message = str(error)
        for name, given in _NAMES_IN_HIT_AT_K.items():
            message = message.replace(name, given)
        raise ValueError(message) from None


def _bank_rows(vectors: Any, where: str) -> tuple[Rows, Any]:
    rows, memory = _matrix(vectors, f"{where}: vectors")
    if rows.rows == 0 or rows.dim == 0:
        raise ValueError(f"{where}: vectors: expected at least one row and one column, got {tuple(vectors.shape)}")
    return rows, memory


def _picked(vectors: Any, chosen: NDArray[np.int64]) -> Any:
    """Some rows of `Vectors`, as they are stored."""
    scales = None if vectors.scales is None else vectors.scales[chosen]
    return type(vectors)(vectors.raw[chosen], vectors.dtype_name, scales, "vectors")


def _codes(plane: NDArray[np.int8], rows: NDArray[np.int64], dim: int) -> NDArray[np.int8]:
    """Some rows of a plane of codes (`csrc/scoring/codes.h`): (rows, chunks, 64)."""
    tiles = plane.reshape(-1, -(-dim // 64), 16, 64)
    return tiles[rows // 16, :, rows % 16]


def _whole(x: Any, where: str) -> int:
    try:
        number = operator.index(x)
    except TypeError:
        raise ValueError(f"{where}: expected a whole number, got {x!r}") from None
    if not 1 <= number < 2**63:
        raise ValueError(f"{where}: expected at least 1 and below 2^63, got {number}")
    return number


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
    if ids.dtype == np.uint64 and ids.size and ids.max() >= 2**63:
        raise ValueError(f"{where}: expected ids below 2^63, got {ids.max()}")
    return np.ascontiguousarray(ids, dtype=np.int64)


def _one_id_a_query(x: Any, queries: int, where: str) -> NDArray[np.int64]:
    ids = _integers(x, where)
    if ids.shape != (queries,):
        raise ValueError(f"{where}: expected shape ({queries},), got {ids.shape}")
    return ids


def _renamed(where: str, call: Callable[..., Result], *arguments: Any) -> Result:
    """The core names the argument at fault; this puts the caller's name before it."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
