"""Exact retrieval scoring: ranks, top-k and score bands over a bank of vectors."""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._util.numbers import any_number
from .checked_input import (
    Matrix,
    Names,
    at_least_one,
    float32_of,
    one_id_a_query,
    one_number_a_query,
    queries_of,
    renamed,
)
from .contents import Contents
from .filters import Exclusions, Filters, exclusions_of
from .held_vectors import HeldVectors

if TYPE_CHECKING:
    from .torch_answers import TorchAnswers


class VectorBank(HeldVectors):
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
    pickled and copied with its rows, one that was opened from a file as the file's path. The vectors of a store in
    several files stay on disk: every question then reads and packs them piece by piece, in little memory.

    Vectors and queries are numpy arrays, torch tensors or lists of numbers. float64 is rounded to float32; whole
    numbers of 16 to 64 bits become float32 up to 2^24, beyond which it has gaps. 8-bit arrays are refused: they look
    like codes without their scales. Questions take queries (B, D), or one (D,), whose answer has no first dimension.
    Answers are numpy arrays, whatever the queries are; `bank.torch` gives tensors.

    `rank`, `topk` and `band` take filters, one or several, that say what a query must not find:

    - `exclude`: (B, E) ids, -1 for none; (E,) of one query.
    - `exclude_ranges`: (B, R, 2) ranges of ids, from the first to before the second; (R, 2) of one query.
    - `allow`: truth values (N,) for all queries or (B, N) for each, False for what must not be found; or their bits,
      `numpy.packbits(mask, axis=-1)`, uint8: the first candidate is the highest bit of its byte.

    Args:
        vectors: (N, D) numbers, or `ChainStore.vectors` (int8 too); D at most 65,536. A torch tensor is on the CPU.
        normalize: Score cosines instead of inner products: the same as metric="cosine".
        metric: "ip" (inner product), "cosine" or "l2" (squared Euclidean distance).
        device: Where to score: "cpu", "cuda", "cuda:1", "mps" or "auto". Answers are the same, bit for bit (a sum of
            `logsumexp` to its stated error). A GPU holds the rows as they are scored, and in half precision.
        build: "search" for a bank that is asked for lists and bands often: packing takes some 50 times as long (a
            second of one core for 30,000 x 768) and a quarter of a byte a number more, and real vectors, whose length
            lies in few directions, are found in half the time or less. Answers are the same. "fast" packs at once. On
            a GPU, and for a store in several files, there is no difference.

    Attributes:
        build: As given.
        metric: As given; "cosine" with normalize=True.
        normalize: Whether it is "cosine".
        dim: D.
        device: As given.

    Raises:
        ValueError: wrong shape or dtype, no rows, a row with NaN or infinity, beyond float32's range or its whole
            numbers, or a zero row where scores are cosines; a masked array, a sparse, nested or quantised tensor.

    Example:
        >>> bank = VectorBank([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> bank.topk([[0.0, 1.0]], k=2)[1], bank.rank([[0.0, 1.0]], [1])
        (array([[2, 1]]), array([1]))
    """

    def __repr__(self) -> str:
        kind = 'metric="l2"' if self.metric == "l2" else f"normalize={self.normalize}"
        place = "" if self.device == "cpu" else f", device={self.device!r}"
        return f"VectorBank({len(self)} x {self.dim}, {kind}{place})"

    @property
    def torch(self) -> TorchAnswers:
        """The same questions, answered as tensors on the device of the queries: ``bank.torch.topk(queries, k)``."""
        from .torch_answers import TorchAnswers

        return TorchAnswers(self)

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
        asked, contents = self._asked(queries, names)
        ids = one_id_a_query(targets, asked, names.of("targets"))
        most = contents.size if max_rank is None else at_least_one(max_rank, names.of("max_rank"))
        left_out = exclusions_of(asked, contents.size, names, *filters)
        scores = renamed(names, contents.pair_scores, asked.rows, ids)
        ranks = renamed(names, contents.rank, asked.rows, scores, ids, 0, most, left_out)
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
        asked, contents = self._asked(queries, Names("VectorBank.pair_scores"))
        ids = one_id_a_query(targets, asked, "VectorBank.pair_scores: targets")
        scores = renamed("VectorBank.pair_scores", contents.pair_scores, asked.rows, ids)
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
        names = Names("VectorBank.topk")
        asked, contents = self._asked(queries, names)
        count, everything = at_least_one(k, names.of("k")), np.full(asked.rows.rows, np.inf)
        if count > contents.count:
            raise ValueError(f"VectorBank.topk: k: expected 1 to {contents.count} (the bank's size), got {count}")
        left_out = exclusions_of(asked, contents.size, names, exclude, exclude_ranges, allow)
        scores, ids = renamed(names, contents.best, asked, -everything, everything, count, left_out, self.metric)
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
        asked, contents = self._asked(queries, names)
        low, high = (any_number(bound, names.of(name)) for bound, name in ((low, "low"), (high, "high")))
        if math.isnan(low) or math.isnan(high) or low > high:
            raise ValueError(f"VectorBank.band: low, high: expected low <= high, got {low:g} and {high:g}")
        width = min(at_least_one(limit, names.of("limit")), contents.count)
        left_out = exclusions_of(asked, contents.size, names, exclude, exclude_ranges, allow)
        lows, highs = np.full(asked.rows.rows, low), np.full(asked.rows.rows, high)
        if below is not None:
            highs = np.minimum(highs, one_number_a_query(below, asked, names.of("below")))
        if self.metric == "l2":  # low <= distance < high: -high < score <= -low
            lows, highs = np.nextafter(-highs, np.inf), np.nextafter(-lows, np.inf)
        scores, ids = renamed(names, contents.best, asked, lows, highs, width, left_out, self.metric)
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
        names = Names("VectorBank.logsumexp")
        asked, contents = self._asked(queries, names)
        everything = np.full(asked.rows.rows, np.inf)
        best, ids = renamed(names, contents.best, asked, -everything, everything, 1, Exclusions(), self.metric)
        sums = contents.sum_exp(asked.rows, scale, best[:, 0])
        if not np.isfinite(sums).all():
            raise ValueError("VectorBank.logsumexp: queries: expected scores within float32's range, got larger ones")
        return asked.answer((scale * best[:, 0] + np.log(sums)).astype(np.float32)), asked.answer(ids[:, 0])

    def _shown(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the core's scores, of which more is better, as callers know them."""
        return -scores if self.metric == "l2" else scores

    def _asked(self, queries: Any, names: Names) -> tuple[Matrix, Contents]:
        """Return the queries, and what the bank holds now: a question works on nothing else."""
        self.check_filled(names.where)
        return queries_of(queries, self.dim, names.of("queries")), self._contents


def __getattr__(name: str) -> Any:
    """Return `hit_at_k` under its old path."""
    if name == "hit_at_k":
        return import_module(".hit_at_k", __package__).hit_at_k
    raise AttributeError(name)
