"""Exact retrieval scoring: ranks, top-k and score bands over a bank of vectors."""

from __future__ import annotations

import copy
import math
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import Bank, Filter
from .._util.numbers import any_number, truth_value
from ..ops.rows import is_tensor
from .checked_input import (
    Matrix,
    Names,
    at_least_one,
    float32_of,
    matrix_of,
    one_id_a_query,
    one_number_a_query,
    queries_of,
    renamed,
)
from .filters import exclusions_of

if TYPE_CHECKING:
    from ..data.vectors import Vectors


METRICS = ("ip", "cosine", "l2")
Filters = tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None]  # exclude, exclude_ranges, allow


class VectorBank:
    """Candidate vectors that answer exactly who scores best for a query.

    Scores are inner products of the stored values: float32 as they are, float16 and bfloat16 widened, int8 times its
    row's scale rounded to float32; by metric="cosine", rows and queries are first divided by their norm and rounded to
    float32. They are compared in float64, summed in one fixed order (`csrc/retrieval/screen.h`), equal scores by lower
    id: the same result on every machine, instruction set and thread count. No (B, N) matrix is formed; memory is
    O(B * k + tile). `docs/explanation/scoring.md` tells how.

    By metric="l2" the scores are squared Euclidean distances of the same values, and less is better: lists begin with
    the nearest, a rank counts the nearer ones, a band is a shell. Each difference, its square and their sum, in the
    same order, are rounded to float64.

    The bank refers to the array it is given (a copy is made only where its rows are not contiguous, or not of a dtype
    that is scored): do not change it afterwards. Beside it the bank keeps a packed form of 2 bytes a number. A bank is
    pickled and copied with its rows, one that was opened from a file as the file's path.

    Vectors and queries are numpy arrays, torch tensors or lists of numbers. float64 is rounded to float32; whole
    numbers of 16 to 64 bits become float32 up to 2^24, beyond which it has gaps. 8-bit arrays are refused: they look
    like codes without their scales. Questions take queries (B, D), or one (D,), whose answer has no first dimension.

    `rank`, `topk` and `band` take filters, one or several, that say what a query must not find:

    - `exclude`: (B, E) ids, -1 for none; (E,) of one query.
    - `exclude_ranges`: (B, R, 2) ranges of ids, from the first to before the second; (R, 2) of one query.
    - `allow`: truth values (N,) for all queries or (B, N) for each, False for what must not be found; or their bits,
      `numpy.packbits(mask, axis=-1)`, uint8: the first candidate is the highest bit of its byte.

    Args:
        vectors: (N, D) numbers, or `ChainStore.vectors` (int8 too); D at most 65,536. A torch tensor is on the CPU.
        normalize: Score cosines instead of inner products: the same as metric="cosine".
        metric: "ip" (inner product), "cosine" or "l2" (squared Euclidean distance).

    Attributes:
        metric: As given; "cosine" with normalize=True.
        normalize: Whether it is "cosine".
        dim: D.

    Raises:
        ValueError: wrong shape or dtype, no rows, a row with NaN or infinity, beyond float32's range or its whole
            numbers, or a zero row where scores are cosines; a masked array, a sparse, nested or quantised tensor.

    Example:
        >>> bank = VectorBank([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> bank.topk([[0.0, 1.0]], k=2)[1], bank.rank([[0.0, 1.0]], [1])
        (array([[2, 1]]), array([1]))
    """

    def __init__(self, vectors: Any, normalize: bool = False, *, metric: str = "ip") -> None:
        self._fill(vectors, metric_of(metric, normalize, "VectorBank"), Names("VectorBank"))

    def _fill(self, vectors: Any, metric: str, names: Names) -> None:
        self.metric, self.normalize, matrix = metric, metric == "cosine", _bank_rows(vectors, names)
        self._bank = renamed(names, Bank, matrix.rows, metric)
        self.dim = matrix.rows.dim
        self._hold(matrix)

    def _hold(self, matrix: Matrix, path: str | None = None) -> None:
        self._vectors, self._size, self._path = matrix.given, matrix.rows.rows, path

    def refill(self, vectors: Any) -> None:
        """Refer to other vectors from now on, packed into this bank's memory: quicker than a new bank.

        Args:
            vectors: (N', D) as the constructor takes them; N' may differ.

        Raises:
            ValueError: as the constructor, or another D. After a row that could not be packed, and after Ctrl-C, the
                bank is empty and refuses questions until it is refilled.

        Not while another thread asks this bank or saves it.
        """
        matrix = _bank_rows(vectors, Names("VectorBank.refill"))
        if matrix.rows.dim != self.dim:
            raise ValueError(f"VectorBank.refill: vectors: expected {self.dim} columns, got {matrix.rows.dim}")
        self._size = 0
        renamed("VectorBank.refill", self._bank.refill, matrix.rows)
        self._hold(matrix)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save vectors and packed form as one `.safetensors` file, atomically; `VectorBank.open` maps it.

        Raises:
            OSError: the file cannot be written; nothing is left behind.
        """
        self._check_filled("VectorBank.save")
        from .bank_file import write_bank

        write_bank(path, self.vectors, self._bank.packed())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> VectorBank:
        """Map a saved bank: the time does not depend on its size. Some rows are checked against their packed form.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is truncated, not a bank, or its packed form does not belong to its vectors.
        """
        from .bank_file import check_some_rows, read_bank

        where = f"VectorBank.open: {os.fspath(path)}"
        vectors, packed = read_bank(path, where)
        bank = cls._of_file(vectors, packed, os.path.abspath(path), where)
        check_some_rows(vectors, packed, where)
        return bank

    @classmethod
    def _of_file(cls, vectors: Any, packed: dict[str, NDArray[Any]], path: str, where: str) -> VectorBank:
        from .bank_file import metric_of_packed

        matrix = _bank_rows(vectors, Names(where))
        arrays = (packed[name] for name in ("coarse", "fine", "bounds"))
        bank = cls.__new__(cls)
        bank._bank = renamed(where, Bank.open, matrix.rows, *arrays, packed.get("factors"), packed.get("offsets"))
        bank.dim, bank.metric = matrix.rows.dim, metric_of_packed(packed)
        bank.normalize = bank.metric == "cosine"
        bank._hold(matrix, path)
        return bank

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_filled("VectorBank: pickle")
        if self._path is None:
            return _made_again, (type(self), _copied(self._vectors), self.metric)
        from .bank_file import digest_of

        return _opened_again, (type(self), self._path, digest_of(self._vectors, self._bank.packed()))

    def __deepcopy__(self, memo: dict[int, Any]) -> VectorBank:
        self._check_filled("VectorBank: deepcopy")
        if self._path is None:
            return type(self)(_copied(self._vectors), metric=self.metric)
        return self._of_file(self._vectors, self._bank.packed(), self._path, "VectorBank: deepcopy")  # nobody writes it

    @property
    def vectors(self) -> Vectors:
        """The candidates as they were given, (N, D): `Vectors`, whose slices are float32."""
        from ..data.vectors import Vectors

        self._check_filled("VectorBank.vectors")
        return Vectors.of(self._vectors, None, "VectorBank.vectors")

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        kind = 'metric="l2"' if self.metric == "l2" else f"normalize={self.normalize}"
        return f"VectorBank({self._size} x {self.dim}, {kind})"

    def rank(
        self,
        queries: Any,
        targets: ArrayLike,
        max_rank: int | None = None,
        *,
        exclude: ArrayLike | None = None,
        exclude_ranges: ArrayLike | None = None,
        allow: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Count the candidates that beat each query's target: 0 means that the target is the best.

        Args:
            queries: (B, D), or (D,).
            targets: (B,) ids of candidates, or one id.
            max_rank: Stop counting there: any rank >= max_rank comes back as max_rank. Enough for Hit@max_rank.
            exclude, exclude_ranges, allow: Candidates that are not counted. The target may be one of them: its rank is
                how many of the others beat it.

        Returns:
            (B,) int64, or one number.
        """
        names = Names("VectorBank.rank")
        return self._rank(queries, targets, max_rank, names, (exclude, exclude_ranges, allow))

    def _rank(
        self, queries: Any, targets: ArrayLike, max_rank: int | None, names: Names, filters: Filters
    ) -> NDArray[np.int64]:
        self._check_filled(names.where)
        asked = queries_of(queries, self.dim, names.of("queries"))
        ids = one_id_a_query(targets, asked, names.of("targets"))
        most = self._size if max_rank is None else at_least_one(max_rank, names.of("max_rank"))
        left_out = exclusions_of(asked, self._size, names, *filters)
        scores = renamed(names, self._bank.pair_scores, asked.rows, ids)
        wanted = left_out.of_ids(0, self._size)
        ranks = renamed(names, self._bank.rank, asked.rows, scores, ids, 0, most, wanted)
        answer: NDArray[np.int64] = asked.answer(ranks)
        return answer

    def pair_scores(self, queries: Any, targets: ArrayLike) -> NDArray[np.float64]:
        """Return the exact score of each query with one candidate.

        Args:
            queries: (B, D), or (D,).
            targets: (B,) ids of candidates, or one id.

        Returns:
            (B,) float64, or one number: by metric="l2", squared distances.
        """
        asked = self._queries(queries, "VectorBank.pair_scores")
        ids = one_id_a_query(targets, asked, "VectorBank.pair_scores: targets")
        scores = renamed("VectorBank.pair_scores", self._bank.pair_scores, asked.rows, ids)
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores)))
            problem = "holds NaN or infinity, or is all zeros where a direction is needed"
            raise ValueError(f"VectorBank.pair_scores: queries: row {row} {problem}; expected finite numbers")
        answer: NDArray[np.float64] = asked.answer(self._shown(scores))
        return answer

    def topk(
        self,
        queries: Any,
        k: int,
        *,
        exclude: ArrayLike | None = None,
        exclude_ranges: ArrayLike | None = None,
        allow: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the k best candidates of each query, best first.

        Args:
            queries: (B, D), or (D,).
            k: How many, from 1 to len(bank).
            exclude, exclude_ranges, allow: Candidates never wanted.

        Returns:
            scores (B, k) float32 (infinite past float32's range) and ids (B, k) int64; or (k,) and (k,). Where fewer
            than k are left: padded with -infinity and -1. By metric="l2", squared distances, padded with infinity.
        """
        asked = self._queries(queries, "VectorBank.topk")
        count = at_least_one(k, "VectorBank.topk: k")
        if count > self._size:
            raise ValueError(f"VectorBank.topk: k: expected 1 to {self._size} (the bank's size), got {count}")
        names, everything = Names("VectorBank.topk"), np.full(asked.rows.rows, np.inf)
        left_out = exclusions_of(asked, self._size, names, exclude, exclude_ranges, allow)
        wanted = left_out.of_ids(0, self._size)
        scores, ids = renamed(names, self._bank.best, asked.rows, -everything, everything, count, wanted)
        return asked.answer(self._shown(float32_of(scores))), asked.answer(ids)

    def band(
        self,
        queries: Any,
        low: float,
        high: float,
        limit: int,
        exclude: ArrayLike | None = None,
        below: ArrayLike | None = None,
        *,
        exclude_ranges: ArrayLike | None = None,
        allow: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Find the candidates whose score lies in a band, best first: hard or soft negatives, for instance.

        By metric="l2" the band is one of squared distances, nearest first; low=0 makes it a range search.

        Args:
            queries: (B, D), or (D,).
            low, high: The band: low <= score < high, infinite where there is no bound. Equal bounds are an empty band.
            limit: At most so many ids a query; no more than there are in the bank.
            exclude: (B, E) ids never wanted, such as the positive; -1 stands for none. Or (E,).
            below: (B,) a further upper bound of each query: score < below. Or one number.
            exclude_ranges, allow: Candidates never wanted.

        Returns:
            (B, min(limit, len(bank))) int64 ids, padded with -1; of one query without the B.
        """
        _, ids = self.scored_band(queries, low, high, limit, exclude, below, exclude_ranges=exclude_ranges, allow=allow)
        return ids

    def scored_band(
        self,
        queries: Any,
        low: float,
        high: float,
        limit: int,
        exclude: ArrayLike | None = None,
        below: ArrayLike | None = None,
        *,
        exclude_ranges: ArrayLike | None = None,
        allow: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find candidates as `band` does, and return their scores, too.

        Returns:
            scores float64, padded with -infinity (by metric="l2" squared distances, padded with infinity), and ids
            int64, padded with -1: (B, min(limit, len(bank))) each.
        """
        names = Names("VectorBank.band")
        asked = self._queries(queries, names.where)
        low, high = (any_number(bound, names.of(name)) for bound, name in ((low, "low"), (high, "high")))
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"VectorBank.band: low, high: expected low <= high, got {low:g} and {high:g}")
        width = min(at_least_one(limit, names.of("limit")), self._size)
        left_out = exclusions_of(asked, self._size, names, exclude, exclude_ranges, allow)
        lows, highs = np.full(asked.rows.rows, low), np.full(asked.rows.rows, high)
        if below is not None:
            highs = np.minimum(highs, one_number_a_query(below, asked, names.of("below")))
        if self.metric == "l2":  # low <= distance < high: -high < score <= -low
            lows, highs = np.nextafter(-highs, np.inf), np.nextafter(-lows, np.inf)
        wanted = left_out.of_ids(0, self._size)
        scores, ids = renamed(names, self._bank.best, asked.rows, lows, highs, width, wanted)
        return asked.answer(self._shown(scores)), asked.answer(ids)

    def logsumexp(self, queries: Any, scale: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Compute log sum exp(scale * score) over the whole bank, the normaliser of a softmax, and the best candidate.

        The best is exact. The sum takes float32 scores (error at most about D * 2^-24 * ||query|| * ||row|| each), so
        its logarithm is off by at most `scale` times that. No gradient.

        Args:
            queries: (B, D), or (D,).
            scale: Positive; the inverse of a temperature.

        Returns:
            (B,) float32 and (B,) int64 ids; or one number and one id.
        """
        scale = any_number(scale, "VectorBank.logsumexp: scale")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"VectorBank.logsumexp: scale: expected a positive number, got {scale:g}")
        if self.metric == "l2":
            raise ValueError('VectorBank.logsumexp: expected a bank of inner products or cosines, got metric="l2"')
        asked = self._queries(queries, "VectorBank.logsumexp")
        everything = np.full(asked.rows.rows, np.inf)
        best, ids = renamed("VectorBank.logsumexp", self._bank.best, asked.rows, -everything, everything, 1, Filter())
        sums = self._bank.sum_exp(asked.rows, scale, best[:, 0])
        if not np.isfinite(sums).all():
            raise ValueError("VectorBank.logsumexp: queries: expected scores within float32's range, got larger ones")
        return asked.answer((scale * best[:, 0] + np.log(sums)).astype(np.float32)), asked.answer(ids[:, 0])

    def _shown(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the core's scores, of which more is better, as callers know them."""
        return -scores if self.metric == "l2" else scores

    def _queries(self, queries: Any, where: str) -> Matrix:
        self._check_filled(where)
        return queries_of(queries, self.dim, f"{where}: queries")

    def _check_filled(self, where: str) -> None:
        if self._size == 0:
            raise ValueError(f"{where}: the last refill failed; expected a bank that holds vectors")


def _bank_rows(vectors: Any, names: Names) -> Matrix:
    matrix = matrix_of(vectors, names.of("vectors"))
    if matrix.rows.rows == 0 or matrix.rows.dim == 0:
        shape = (matrix.rows.rows, matrix.rows.dim)
        raise ValueError(f"{names.of('vectors')}: expected at least one row and one column, got {shape}")
    return matrix


def _copied(vectors: Any) -> Any:
    """Return the rows alone: torch would pickle all that a tensor is a view of."""
    return vectors.detach().clone() if is_tensor(vectors) else copy.deepcopy(vectors)


def metric_of(metric: Any, normalize: Any, where: str) -> str:
    """Return the metric that a bank is made with. Raises ValueError where it is none, or the two contradict."""
    if metric not in METRICS:
        raise ValueError(f"{where}: metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    if not truth_value(normalize, f"{where}: normalize"):
        return str(metric)
    if metric == "l2":
        raise ValueError(f'{where}: normalize: expected False with metric="l2"; cosines are metric="cosine"')
    return "cosine"


def _made_again(kind: type[VectorBank], vectors: Any, metric: str) -> VectorBank:
    return kind(vectors, metric=metric)


def _opened_again(kind: type[VectorBank], path: str, digest: str) -> VectorBank:
    """Return the bank of a file, as it was when it was pickled."""
    from .bank_file import digest_of

    bank = kind.open(path)
    if digest_of(bank._vectors, bank._bank.packed()) != digest:
        raise ValueError(f"VectorBank.open: {path}: holds another bank than when this one was pickled")
    return bank


def __getattr__(name: str) -> Any:
    """Return `hit_at_k` under its old path."""
    if name == "hit_at_k":
        return import_module(".hit_at_k", __package__).hit_at_k
    raise AttributeError(name)
