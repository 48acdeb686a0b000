"""Exact retrieval scoring: ranks, top-k, score bands and Hit@K over a bank of vectors."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import Bank, Rows
from .._util.numbers import any_number, truth_value
from ..ops.rows import is_tensor
from .checked_input import (
    Matrix,
    Names,
    array_of,
    at_least_one,
    float32_of,
    ids_a_query,
    matrix_of,
    one_id_a_query,
    one_number_a_query,
    queries_of,
    renamed,
)

if TYPE_CHECKING:
    from ..data.vectors import Vectors
    from .device_bank import DeviceBank
    from .torch_answers import TorchAnswers


class VectorBank:
    """Candidate vectors that answer exactly who scores best for a query.

    Scores are inner products of the stored values: float32 as they are, float16 and bfloat16 widened, int8 times its
    row's scale rounded to float32; with normalize=True rows and queries are first divided by their norm and rounded to
    float32. They are compared in float64, summed in one fixed order (`csrc/retrieval/screen.h`), equal scores by lower
    id: the same result on every machine, instruction set and thread count. No (B, N) matrix is formed; memory is
    O(B * k + tile). `docs/explanation/scoring.md` tells how.

    The bank refers to the array it is given (a copy is made only where its rows are not contiguous, or not of a dtype
    that is scored): do not change it afterwards. Beside it the bank keeps a packed form of 2 bytes a number. A bank is
    pickled and copied with its rows, one that was opened from a file as the file's path.

    Vectors and queries are numpy arrays, torch tensors or lists of numbers. float64 is rounded to float32; whole
    numbers of 16 to 64 bits become float32 up to 2^24, beyond which it has gaps. 8-bit arrays are refused: they look
    like codes without their scales. Questions take queries (B, D), or one (D,), whose answer has no first dimension.
    Answers are numpy arrays, whatever the queries are; `bank.torch` gives tensors.

    Args:
        vectors: (N, D) numbers, or `ChainStore.vectors` (int8 too); D at most 65,536. A torch tensor is on the CPU.
        normalize: Score cosines instead of inner products.
        device: Where to score: "cpu", "cuda", "cuda:1", "mps" or "auto". Answers are the same, bit for bit (a sum of
            `logsumexp` to its stated error). A GPU holds the rows as they are scored, and in half precision.

    Raises:
        ValueError: wrong shape or dtype, no rows, a row with NaN or infinity, beyond float32's range or its whole
            numbers, or a zero row with normalize=True; a masked array, a sparse, nested or quantised tensor.

    Example:
        >>> bank = VectorBank([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> bank.topk([[0.0, 1.0]], k=2)[1], bank.rank([[0.0, 1.0]], [1])
        (array([[2, 1]]), array([1]))
    """

    device = "cpu"

    def __init__(self, vectors: Any, normalize: bool = False, *, device: Any = "cpu") -> None:
        self.device = str(device)
        self._fill(vectors, truth_value(normalize, "VectorBank: normalize"), Names("VectorBank"))

    def _fill(self, vectors: Any, normalize: bool, names: Names) -> None:
        self.normalize, matrix = normalize, _bank_rows(vectors, names)
        self._bank: Bank | DeviceBank = renamed(names, _engine_on, self.device, matrix.rows, normalize)
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
        matrix = _bank_rows(vectors, Names(where))
        arrays = (packed[name] for name in ("coarse", "fine", "bounds"))
        bank = cls.__new__(cls)
        bank._bank = renamed(where, Bank.open, matrix.rows, *arrays, packed.get("factors"))
        bank.dim, bank.normalize = matrix.rows.dim, "factors" in packed
        bank._hold(matrix, path)
        return bank

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_filled("VectorBank: pickle")
        if self._path is None:
            return partial(type(self), device=self.device), (_copied(self._vectors), self.normalize)
        from .bank_file import digest_of

        return _opened_again, (type(self), self._path, digest_of(self._vectors, self._bank.packed()))

    def __deepcopy__(self, memo: dict[int, Any]) -> VectorBank:
        self._check_filled("VectorBank: deepcopy")
        if self._path is None:
            return type(self)(_copied(self._vectors), self.normalize, device=self.device)
        return self._of_file(self._vectors, self._bank.packed(), self._path, "VectorBank: deepcopy")  # nobody writes it

    @property
    def vectors(self) -> Vectors:
        """The candidates as they were given, (N, D): `Vectors`, whose slices are float32."""
        from ..data.vectors import Vectors

        self._check_filled("VectorBank.vectors")
        return Vectors.of(self._vectors, None, "VectorBank.vectors")

    @property
    def torch(self) -> TorchAnswers:
        """The same questions, answered as tensors on the device of the queries: ``bank.torch.topk(queries, k)``."""
        from .torch_answers import TorchAnswers

        return TorchAnswers(self)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        place = "" if self.device == "cpu" else f", device={self.device!r}"
        return f"VectorBank({self._size} x {self.dim}, normalize={self.normalize}{place})"

    def rank(self, queries: Any, targets: ArrayLike, max_rank: int | None = None) -> NDArray[np.int64]:
        """Count the candidates that beat each query's target: 0 means that the target is the best.

        Args:
            queries: (B, D), or (D,).
            targets: (B,) ids of candidates, or one id.
            max_rank: Stop counting there: any rank >= max_rank comes back as max_rank. Enough for Hit@max_rank.

        Returns:
            (B,) int64, or one number.
        """
        return self._rank(queries, targets, max_rank, Names("VectorBank.rank"))

    def _rank(self, queries: Any, targets: ArrayLike, max_rank: int | None, names: Names) -> NDArray[np.int64]:
        self._check_filled(names.where)
        asked = queries_of(queries, self.dim, names.of("queries"))
        ids = one_id_a_query(targets, asked, names.of("targets"))
        most = self._size if max_rank is None else at_least_one(max_rank, names.of("max_rank"))
        scores = renamed(names, self._bank.pair_scores, asked.rows, ids)
        ranks = renamed(names, self._bank.rank, asked.rows, scores, ids, 0, most)
        answer: NDArray[np.int64] = asked.answer(ranks)
        return answer

    def pair_scores(self, queries: Any, targets: ArrayLike) -> NDArray[np.float64]:
        """Return the exact score of each query with one candidate.

        Args:
            queries: (B, D), or (D,).
            targets: (B,) ids of candidates, or one id.

        Returns:
            (B,) float64, or one number.
        """
        asked = self._queries(queries, "VectorBank.pair_scores")
        ids = one_id_a_query(targets, asked, "VectorBank.pair_scores: targets")
        scores = renamed("VectorBank.pair_scores", self._bank.pair_scores, asked.rows, ids)
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores)))
            problem = "holds NaN or infinity, or is all zeros where a direction is needed"
            raise ValueError(f"VectorBank.pair_scores: queries: row {row} {problem}; expected finite numbers")
        answer: NDArray[np.float64] = asked.answer(scores)
        return answer

    def topk(self, queries: Any, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the k best candidates of each query, best first.

        Args:
            queries: (B, D), or (D,).
            k: How many, from 1 to len(bank).

        Returns:
            scores (B, k) float32 (infinite past float32's range) and ids (B, k) int64; or (k,) and (k,).
        """
        asked = self._queries(queries, "VectorBank.topk")
        count = at_least_one(k, "VectorBank.topk: k")
        if count > self._size:
            raise ValueError(f"VectorBank.topk: k: expected 1 to {self._size} (the bank's size), got {count}")
        scores, ids = renamed("VectorBank.topk", self._bank.topk, asked.rows, count)
        return asked.answer(float32_of(scores)), asked.answer(ids)

    def band(
        self,
        queries: Any,
        low: float,
        high: float,
        limit: int,
        exclude: ArrayLike | None = None,
        below: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Find the candidates whose score lies in a band, best first: hard or soft negatives, for instance.

        Args:
            queries: (B, D), or (D,).
            low, high: The band: low <= score < high, infinite where there is no bound. Equal bounds are an empty band.
            limit: At most so many ids a query; no more than there are in the bank.
            exclude: (B, E) ids never wanted, such as the positive; -1 stands for none. Or (E,).
            below: (B,) a further upper bound of each query: score < below. Or one number.

        Returns:
            (B, min(limit, len(bank))) int64 ids, padded with -1; of one query without the B.
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
        """Find candidates as `band` does, and return their scores, too.

        Returns:
            scores float64, padded with -infinity, and ids int64, padded with -1: (B, min(limit, len(bank))) each.
        """
        asked = self._queries(queries, "VectorBank.band")
        low, high = (any_number(bound, f"VectorBank.band: {name}") for bound, name in ((low, "low"), (high, "high")))
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"VectorBank.band: low, high: expected low <= high, got {low:g} and {high:g}")
        width = min(at_least_one(limit, "VectorBank.band: limit"), self._size)
        excluded = None if exclude is None else ids_a_query(exclude, asked, self._size, "VectorBank.band: exclude")
        bounds = None if below is None else one_number_a_query(below, asked, "VectorBank.band: below")
        scores, ids = renamed("VectorBank.band", self._bank.band, asked.rows, low, high, width, excluded, bounds)
        return asked.answer(scores), asked.answer(ids)

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
        asked = self._queries(queries, "VectorBank.logsumexp")
        best, ids = renamed("VectorBank.logsumexp", self._bank.topk, asked.rows, 1)
        sums = self._bank.sum_exp(asked.rows, scale, best[:, 0])
        if not np.isfinite(sums).all():
            raise ValueError("VectorBank.logsumexp: queries: expected scores within float32's range, got larger ones")
        return asked.answer((scale * best[:, 0] + np.log(sums)).astype(np.float32)), asked.answer(ids[:, 0])

    def _queries(self, queries: Any, where: str) -> Matrix:
        self._check_filled(where)
        return queries_of(queries, self.dim, f"{where}: queries")

    def _check_filled(self, where: str) -> None:
        if self._size == 0:
            raise ValueError(f"{where}: the last refill failed; expected a bank that holds vectors")


def hit_at_k(
    predictions: Any,
    targets: Any,
    ks: Iterable[int] = (1, 5, 10),
    bank: VectorBank | None = None,
    mrr: bool = True,
    normalize: bool = False,
) -> dict[str, float | int]:
    """Compute the fraction of predictions whose true next vector is among the k best of the pool, exactly.

    Args:
        predictions: (B, D), as `VectorBank` takes queries.
        targets: (B, D) vectors: they are the pool, and row b is the target of prediction b; with a bank, (B,) ids.
        ks: Each at least 1. A k beyond the pool is always a hit, as the count says.
        bank: The pool, where it is more than the targets.
        mrr: Also the mean reciprocal rank (needs full ranks).
        normalize: Score cosines; with a bank, say so when making the bank.

    Returns:
        {"hit@1": fraction in [0, 1], ..., "mrr": ..., "pool": candidates, "queries": B}.

    Raises:
        ValueError: An argument does not fit, as `VectorBank` says, or there is not one target a prediction.

    Example:
        >>> hit_at_k([[1.0, 0.1], [0.9, 0.2]], [[1.0, 0.0], [0.0, 1.0]], ks=(1, 2))
        {'hit@1': 0.5, 'hit@2': 1.0, 'mrr': 0.75, 'pool': 2, 'queries': 2}
    """
    wanted, predictions = _each_k(ks), array_of(predictions, "hit_at_k: predictions")
    mrr, normalize = truth_value(mrr, "hit_at_k: mrr"), truth_value(normalize, "hit_at_k: normalize")
    if bank is None:
        bank = VectorBank.__new__(VectorBank)
        bank._fill(array_of(targets, "hit_at_k: targets"), normalize, Names("hit_at_k", {"vectors": "targets"}))
        if len(predictions) != len(bank):
            raise ValueError(f"hit_at_k: targets: expected {len(predictions)} rows, one a prediction, got {len(bank)}")
        targets = np.arange(len(bank))
    elif not hasattr(bank, "rank"):
        raise ValueError(f"hit_at_k: bank: expected a VectorBank, got a {type(bank).__name__}")
    elif normalize and not bank.normalize:
        raise ValueError("hit_at_k: normalize: expected a VectorBank(..., normalize=True), got one of inner products")
    most, asked = None if mrr else max(wanted), Names("hit_at_k", {"queries": "predictions"})
    scorer: Any = bank  # a ShardedBank speaks for itself
    is_whole = isinstance(scorer, VectorBank)
    answered = scorer._rank(predictions, targets, most, asked) if is_whole else scorer.rank(predictions, targets, most)
    ranks = np.atleast_1d(answered)
    if len(ranks) == 0:
        raise ValueError("hit_at_k: predictions: expected at least one row, got none")
    figures: dict[str, float | int] = {f"hit@{k}": float(np.mean(ranks < k)) for k in wanted}
    if mrr:
        figures["mrr"] = float(np.mean(1.0 / (ranks + 1)))
    return figures | {"pool": len(bank), "queries": len(ranks)}


def _each_k(ks: Any) -> list[int]:
    try:
        wanted = [at_least_one(k, "hit_at_k: ks") for k in ks]
    except TypeError:
        raise ValueError(f"hit_at_k: ks: expected some whole numbers, got {ks!r}") from None
    if not wanted:
        raise ValueError("hit_at_k: ks: expected at least one number, got none")
    return wanted


def _engine_on(device: str, rows: Rows, normalize: bool) -> Bank | DeviceBank:
    if device == "cpu":
        return Bank(rows, normalize)
    from .device_bank import engine_on  # with torch

    return engine_on(device, rows, normalize)


def _bank_rows(vectors: Any, names: Names) -> Matrix:
    matrix = matrix_of(vectors, names.of("vectors"))
    if matrix.rows.rows == 0 or matrix.rows.dim == 0:
        shape = (matrix.rows.rows, matrix.rows.dim)
        raise ValueError(f"{names.of('vectors')}: expected at least one row and one column, got {shape}")
    return matrix


def _copied(vectors: Any) -> Any:
    """Return the rows alone: torch would pickle all that a tensor is a view of."""
    return vectors.detach().clone() if is_tensor(vectors) else copy.deepcopy(vectors)


def _opened_again(kind: type[VectorBank], path: str, digest: str) -> VectorBank:
    """Return the bank of a file, as it was when it was pickled."""
    from .bank_file import digest_of

    bank = kind.open(path)
    if digest_of(bank._vectors, bank._bank.packed()) != digest:
        raise ValueError(f"VectorBank.open: {path}: holds another bank than when this one was pickled")
    return bank
