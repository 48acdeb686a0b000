"""95% intervals that respect the data: windows of one chain are alike, so whole chains are resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_RESAMPLES = 100_000  # more move the ends of an interval by less than the digits that are told
_BLOCK = 1 << 22  # resample counts held at a time (32 MB)


def bootstrap_intervals(
    values: NDArray[np.float64],
    clusters: NDArray[np.int64],
    resamples: int = 1000,
    seed: int = 42,
    level: float = 0.95,
) -> NDArray[np.float64] | None:
    """Compute the percentile bootstrap of the mean of each column, resampling whole clusters with replacement.

    All columns see the same resamples, so the mean of a column of differences gets a paired interval. A resample's mean
    is a ratio of two weighted sums over clusters; no query is ever copied.

    Args:
        values: One row a query, one column a metric, (Q, M).
        clusters: The cluster of each query, any integers, (Q,).
        resamples: Bootstrap resamples.
        seed: Seed of the resamples; the same seed gives the same intervals.
        level: Coverage, 0.95 for 95% intervals.

    Returns:
        Lower and upper ends, float64 (2, M); None for fewer than two clusters, which say nothing about each other.

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), sections 3.8 and 5.3.
    """
    clusters = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(clusters).astype(np.float64)  # (C,)
    if len(sizes) < 2:
        return None
    sums = np.zeros((len(sizes), values.shape[1]))  # (C, M)
    np.add.at(sums, clusters, values)
    means = np.empty((resamples, values.shape[1]))  # (R, M)
    rng = np.random.default_rng(seed)
    share = np.full(len(sizes), 1.0 / len(sizes))
    step = max(1, _BLOCK // len(sizes))
    for first in range(0, resamples, step):
        # how often each cluster is drawn, when as many are drawn as there are
        counts = rng.multinomial(len(sizes), share, size=min(step, resamples - first)).astype(np.float64)  # (R, C)
        means[first : first + step] = (counts @ sums) / (counts @ sizes)[:, None]
    tail = (1.0 - level) / 2.0
    ends: NDArray[np.float64] = np.quantile(means, (tail, 1.0 - tail), axis=0)
    return ends
