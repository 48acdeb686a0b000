"""Exact ranks and top-k over candidates that several processes hold, under torch.distributed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._util.numbers import whole_number
from .bank import VectorBank
from .checked_input import Matrix, Names, at_least_one, float32_of, one_id_a_query, queries_of, renamed
from .contents import merged
from .filters import Exclusions, Filters, exclusions_of
from .held_vectors import metric_of

Result = TypeVar("Result")


class ShardedBank:
    """A `VectorBank` whose candidates are spread over the processes of a group, each holding some consecutive ones.

    The answers are those of one `VectorBank` over all candidates, bit for bit, whatever the number of processes. Every
    method, the constructor included, is called by all processes of the group together, with the same queries; an error
    on one is raised on all. Without torch.distributed the one process holds everything; only then can it be pickled.

        dist.init_process_group("gloo")  # or "nccl"; under `torchrun --nproc-per-node 4 script.py`
        bank = ShardedBank(vectors[first:last], first)
        ranks = bank.rank(queries, targets)  # the same on every process

    Args:
        vectors: (n, D) of this process, at least one row; as `VectorBank` takes them.
        first_id: The id of their first row. The ids of all processes together are 0 to N - 1, each held once.
        normalize: Score cosines instead of inner products.
        metric: As `VectorBank` takes it.
        group: A torch.distributed process group; None for all processes.

    Raises:
        ValueError: as `VectorBank`; shards that overlap, leave a gap or differ in D or `normalize`; or this process is
            not in the group.
        RuntimeError: another process failed for a reason other than a ValueError.
    """

    def __init__(
        self, vectors: Any, first_id: int, normalize: bool = False, group: Any = None, *, metric: str = "ip"
    ) -> None:
        self._peers = _Peers(group)

        def shard() -> tuple[int, int, int, str]:
            self._first = whole_number(first_id, "ShardedBank: first_id")
            if self._first < 0:
                raise ValueError(f"ShardedBank: first_id = {self._first}; expected a whole number of at least 0")
            self._shard = VectorBank(vectors, metric=metric_of(metric, normalize, "ShardedBank"))
            return self._first, len(self._shard), self._shard.dim, self._shard.metric

        shards = self._peers.gather(shard, "ShardedBank")
        self._size = 0
        for first, size, *kind in sorted(shards):
            if first != self._size:
                raise ValueError(
                    f"ShardedBank: first_id: a shard begins at {first}; expected {self._size}, one end to end"
                )
            if kind != list(shards[0][2:]):
                raise ValueError(
                    f"ShardedBank: shards of (D, metric) = {shards[0][2:]} and {tuple(kind)}; expected one"
                )
            self._size += size
        self.dim, self.metric, self.normalize = self._shard.dim, self._shard.metric, self._shard.normalize

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        shard = f"ids {self._first} to {self._first + len(self._shard) - 1} here"
        kind = 'metric="l2"' if self.metric == "l2" else f"normalize={self.normalize}"
        return f"ShardedBank({self._size} x {self.dim}, {kind}, {shard})"

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
        """Count the candidates of all processes that beat each query's target: 0 means that the target is the best.

        Args:
            queries: (B, D), or (D,), as `VectorBank` takes them; the same on every process.
            targets: (B,) ids from 0 to N - 1, or one; the same on every process.
            max_rank: Stop counting there: any rank >= max_rank comes back as max_rank.
            exclude, exclude_ranges, allow: As `VectorBank.rank`, by the ids of all; the same on every process.

        Returns:
            (B,) int64, or one number, the same on every process.

        Raises:
            ValueError: as `VectorBank.rank`, or the processes do not ask the same.
        """

        def check() -> Any:
            asked = self._queries(queries, "ShardedBank.rank")
            ids = self._checked_targets(targets, asked)
            most = self._size if max_rank is None else at_least_one(max_rank, "ShardedBank.rank: max_rank")
            left_out = exclusions_of(asked, self._size, Names("ShardedBank.rank"), *filters)
            return "rank", _digest(asked), left_out.digest(), ids.tolist(), most

        filters = (exclude, exclude_ranges, allow)
        *_, known, most = self._peers.gather_same(check, "ShardedBank.rank")
        ids, asked = np.array(known, np.int64), self._queries(queries, "ShardedBank.rank")
        scores = self._peers.total(lambda: self._own_scores(asked, ids), ids.shape, np.float64, "ShardedBank.rank")
        counts = self._peers.total(
            lambda: renamed("ShardedBank.rank", self._own_ranks, asked, scores, ids, most, filters),
            ids.shape,
            np.int64,
            "ShardedBank.rank",
        )
        ranks: NDArray[np.int64] = asked.answer(np.minimum(counts, most))
        return ranks

    def topk(
        self,
        queries: Any,
        k: int,
        *,
        exclude: ArrayLike | None = None,
        exclude_ranges: ArrayLike | None = None,
        allow: ArrayLike | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the k best candidates of each query over all processes, best first.

        Args:
            queries: (B, D), or (D,), as `VectorBank` takes them; the same on every process.
            k: How many, from 1 to N.
            exclude, exclude_ranges, allow: As `VectorBank.topk`, by the ids of all; the same on every process.

        Returns:
            scores (B, k) float32 (by metric="l2", squared distances) and ids (B, k) int64, or (k,) and (k,), padded as
            those of `VectorBank.topk`, the same on every process.

        Raises:
            ValueError: as `VectorBank.topk`, or the processes do not ask the same.
        """

        def check() -> Any:
            count = at_least_one(k, "ShardedBank.topk: k")
            if count > self._size:
                raise ValueError(f"ShardedBank.topk: k: expected 1 to {self._size} (the bank's size), got {count}")
            asked = self._queries(queries, "ShardedBank.topk")
            left_out = exclusions_of(asked, self._size, Names("ShardedBank.topk"), *filters)
            return "topk", _digest(asked), left_out.digest(), count

        filters = (exclude, exclude_ranges, allow)
        *_, count = self._peers.gather_same(check, "ShardedBank.topk")
        asked = self._queries(queries, "ShardedBank.topk")
        shards = self._peers.gather(lambda: self._own_best(asked, count, filters), "ShardedBank.topk")
        scores, ids = merged(shards, count)
        return asked.answer(self._shard._shown(float32_of(scores))), asked.answer(ids)

    def _checked_targets(self, targets: ArrayLike, asked: Matrix) -> NDArray[np.int64]:
        ids = one_id_a_query(targets, asked, "ShardedBank.rank: targets")
        outside = np.flatnonzero((ids < 0) | (ids >= self._size))
        if len(outside):
            b = outside[0]
            raise ValueError(f"ShardedBank.rank: targets[{b}] = {ids[b]}: expected an id in [0, {self._size})")
        return ids

    def _own_scores(self, asked: Matrix, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B,) the exact scores of the targets that this process holds; 0 for the others."""
        own = (ids >= self._first) & (ids < self._first + len(self._shard))
        known = self._shard._contents.pair_scores(asked.rows, np.where(own, ids - self._first, 0))
        return np.where(own, known, 0.0)

    def _own_ranks(
        self, asked: Matrix, scores: NDArray[np.float64], ids: NDArray[np.int64], most: int, filters: Filters
    ) -> NDArray[np.int64]:
        """(B,) how many candidates of this process beat each score and id."""
        left_out = self._own_exclusions(asked, filters)
        return self._shard._contents.rank(asked.rows, scores, ids, self._first, most, left_out)

    def _own_best(self, asked: Matrix, k: int, filters: Filters) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the best of this process: scores (B, min(k, n)) float64 and ids."""
        everything, count = np.full(asked.rows.rows, np.inf), min(k, len(self._shard))
        search = self._shard._contents.best
        left_out = self._own_exclusions(asked, filters)
        scores, ids = renamed("ShardedBank.topk", search, asked, -everything, everything, count, left_out, self.metric)
        return scores, np.where(ids < 0, -1, ids + self._first)

    def _own_exclusions(self, asked: Matrix, filters: Filters) -> Exclusions:
        """What the filters leave out of this process's candidates."""
        left_out = exclusions_of(asked, self._size, Names("ShardedBank"), *filters)
        return left_out.part(self._first, len(self._shard))

    def _queries(self, queries: Any, where: str) -> Matrix:
        return queries_of(queries, self.dim, f"{where}: queries")


def _digest(asked: Matrix) -> str:
    """Return a digest of all queries, the same on every process."""
    from ..data.vectors import Vectors

    raw = Vectors.of(asked.given).raw if asked.rows.rows else np.empty(0)
    return hashlib.sha256(np.ascontiguousarray(raw).data).hexdigest()


class _Peers:
    """The processes of a group, which compute together: an error on one is raised on all, so that none waits for it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Peers:
        return self  # the same processes

    def __getstate__(self) -> dict[str, Any]:
        if not self._alone:
            raise TypeError(
                "ShardedBank: expected one process that holds all candidates to pickle it, got a group of them; "
                "pickle the VectorBank of each"
            )
        return self.__dict__

    def __init__(self, group: Any) -> None:
        import torch.distributed as dist

        self._group = group
        self._alone = not (dist.is_available() and dist.is_initialized())
        if self._alone:
            return
        if dist.get_rank(group) < 0:
            raise ValueError("ShardedBank: group: this process is not in it")
        self._here = dist.get_rank(group)
        self._device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"

    def gather(self, compute: Callable[[], Result], where: str) -> list[Result]:
        """Gather what each process computes, by its rank in the group."""
        if self._alone:
            return [compute()]
        result, error = _attempt(compute)
        answers = self._gathered((result, error and _told(error)))
        self._raise_first(error, [problem for _, problem in answers], where)
        return [answer for answer, _ in answers]

    def gather_same(self, compute: Callable[[], Result], where: str) -> Result:
        """Compute the same on every process; raises unless all results are equal."""
        results = self.gather(compute, where)
        for process, result in enumerate(results):
            if result != results[0]:
                raise ValueError(f"{where}: process {process} asks something else than process 0; expected the same")
        return results[0]

    def total(
        self, compute: Callable[[], NDArray[Any]], shape: tuple[int, ...], dtype: Any, where: str
    ) -> NDArray[Any]:
        """Return the sum over all processes of arrays of one shape (B,), with one all-reduce."""
        if self._alone:
            return compute()
        import torch
        import torch.distributed as dist

        result, error = _attempt(compute)
        carried = np.zeros(shape[0] + 1, dtype)  # the last number counts the failures
        carried[-1] = error is not None
        if result is not None:
            carried[:-1] = result
        tensor = torch.from_numpy(carried).to(self._device)
        dist.all_reduce(tensor, group=self._group)
        summed: NDArray[Any] = tensor.cpu().numpy()
        if summed[-1]:
            self._raise_first(error, self._gathered(error and _told(error)), where)
        return summed[:-1]

    def _gathered(self, value: Any) -> list[Any]:
        import torch.distributed as dist

        values: list[Any] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(values, value, self._group)
        return values

    def _raise_first(self, own: Exception | None, problems: list[tuple[bool, str] | None], where: str) -> None:
        """Raise this process's own error, else that of the first process that has one."""
        if own is not None:
            raise own
        for process, problem in enumerate(problems):
            if problem is not None:
                is_value, message = problem
                raise (ValueError if is_value else RuntimeError)(f"{where}: process {process} failed: {message}")


def _attempt(compute: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return compute(), None
    except Exception as error:
        return None, error


def _told(error: Exception) -> tuple[bool, str]:
    """Return an error as the other processes learn of it: is it a ValueError, and what it says."""
    return isinstance(error, ValueError), str(error) or type(error).__name__
