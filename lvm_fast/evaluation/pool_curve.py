"""Hit@K against pool size, computed exactly from ranks instead of drawing one lucky or unlucky pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .baselines import chance
from .figures import CURVE_K, MODEL, PRODUCTION_TARGETS, CurvePoint, Interval
from .intervals import bootstrap_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIZES = (10, 20, 50, 115, 230, 500, 1149, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)


class RanksInPools(NamedTuple):
    """The ranks of the targets by predictor, in one pool.

    Attributes:
        ranks: Rank of each query's target, (Q,) by predictor.
        size: Candidates in the pool.
        left_out: How many of them are left out for each query, as it has read them, (Q,); none for 0.
    """

    ranks: Mapping[str, NDArray[np.int64]]
    size: int
    left_out: NDArray[np.int64] | int = 0


def hit_curve(
    in_targets: RanksInPools,
    in_all: RanksInPools,
    clusters: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> list[CurvePoint]:
    """Compute Hit@5 of every predictor with 95% intervals, at growing pool sizes up to all candidates.

    Candidates that a query has read are drawn as all others are, and left out then: the sizes count them.

    Args:
        in_targets: Among the targets.
        in_all: Among all candidates, the targets among them.
        clusters: The cluster of each query, (Q,).
        resamples: Bootstrap resamples.
        seed: Seed of the resamples.
    """
    (ranks_in_targets, targets, _), (ranks_in_all, candidates, _) = in_targets, in_all
    sizes = curve_sizes(targets, candidates)
    names = list(ranks_in_all)
    hits = np.stack(  # (Q, sizes * predictors)
        [
            expected_hits(CURVE_K, size, ranks_in_targets[name], targets, ranks_in_all[name], candidates)
            for size in sizes
            for name in names
        ],
        axis=1,
    )
    model_ranks = (ranks_in_targets[MODEL], targets), (ranks_in_all[MODEL], candidates)
    production_ks = {metric: int(metric.removeprefix("hit@")) for metric in PRODUCTION_TARGETS}
    means = hits.mean(axis=0).reshape(len(sizes), len(names))
    ends = bootstrap_intervals(hits, clusters, resamples, seed)
    points = []
    for i, size in enumerate(sizes):
        point_hits = {name: float(means[i, j]) for j, name in enumerate(names)}
        point_hits["chance"] = chance(_sizes_left(size, in_targets, in_all), (CURVE_K,))[f"hit@{CURVE_K}"]
        intervals: dict[str, Interval | None] = dict.fromkeys(names)
        if ends is not None:
            low, high = ends.reshape(2, len(sizes), len(names))[:, i]
            intervals = {name: (float(low[j]), float(high[j])) for j, name in enumerate(names)}
        production = {
            metric: float(expected_hits(k, size, *model_ranks[0], *model_ranks[1]).mean())
            for metric, k in production_ks.items()
        }
        points.append(CurvePoint(size, point_hits, intervals, production))
    return points


def _sizes_left(size: int, in_targets: RanksInPools, in_all: RanksInPools) -> NDArray[np.float64]:
    """Compute the size to expect of a pool once each query's read candidates are left out of it."""
    (_, targets, read), (_, candidates, all_read) = in_targets, in_all
    if size <= targets:
        return np.asarray(size - read * (size - 1) / max(1, targets - 1))
    others_read = np.subtract(all_read, read)
    return np.asarray(size - read - others_read * (size - targets) / (candidates - targets))


def curve_sizes(targets: int, candidates: int) -> list[int]:
    """List the pool sizes of the curve: round ones, those of the reference's figures, the targets', all candidates'."""
    sizes = {size for size in (*_SIZES, targets) if 10 <= size <= candidates}
    return sorted(sizes | {candidates})


def expected_hits(
    k: int,
    size: int,
    rank_in_targets: NDArray[np.int64],
    targets: int,
    rank_in_all: NDArray[np.int64],
    candidates: int,
) -> NDArray[np.float64]:
    """Compute the chance that each query's target is among its ``k`` best, over all pools of ``size``.

    Pools nest as in `evaluate`: up to the number of targets, a pool is the query's target and a random subset of the
    other targets; beyond it, all targets and a random subset of the other candidates.

    Args:
        k: Places that count as a hit.
        size: Pool size, 1 to ``candidates``.
        rank_in_targets: Rank (0 = best) of each query's target among all targets, (Q,).
        targets: How many targets there are.
        rank_in_all: Rank of each query's target among all candidates, (Q,).
        candidates: How many candidates there are, the targets among them.

    Returns:
        Probabilities, float64 (Q,); plain hits (0 or 1) where ``size`` is ``targets`` or ``candidates``.
    """
    if size <= targets:
        return _at_most(k - 1, rank_in_targets, targets - 1, size - 1)
    others_ahead = rank_in_all - rank_in_targets
    return _at_most(k - 1 - rank_in_targets, others_ahead, candidates - targets, size - targets)


def _at_most(
    limit: NDArray[np.int64] | int, marked: NDArray[np.int64], population: int, draws: int
) -> NDArray[np.float64]:
    """Compute P(X <= limit), X = marked items in `draws` from `population` without replacement (hypergeometric)."""
    limit = np.broadcast_to(limit, marked.shape)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, population + 1)))))

    def log_choose(n: NDArray[np.int64] | int, r: NDArray[np.int64] | int) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = log_factorial[n] - log_factorial[r] - log_factorial[np.subtract(n, r)]
        return chosen

    total = np.zeros(marked.shape)
    for taken in range(int(limit.max(initial=-1)) + 1):
        possible = (taken <= limit) & (taken <= marked) & (draws - taken <= population - marked) & (taken <= draws)
        ahead = marked[possible]
        log_ways = log_choose(ahead, taken) + log_choose(population - ahead, draws - taken)
        total[possible] += np.exp(log_ways - log_choose(population, draws))
    return np.minimum(total, 1.0)
