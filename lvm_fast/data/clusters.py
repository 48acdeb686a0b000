"""Clusters of directions: spherical k-means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..ops.rowwise import l2_normalize
from .chain_store import ChainStore
from .number_formats import Float32, Int64

_RESTARTS = 10
_MOST_ROUNDS = 100

Float64 = npt.NDArray[np.float64]


def chain_means(store: ChainStore) -> Float32:
    """Return the direction of each chain: the unit mean of its unit vectors, (C, D); zeros for a chain without rows."""
    means = np.zeros((len(store), store.dim), np.float32)
    for chain, (first, last) in enumerate(zip(store.offsets[:-1], store.offsets[1:], strict=True)):
        if last > first:
            means[chain] = l2_normalize(store.vectors[first:last]).mean(axis=0)
    return l2_normalize(means)


def spherical_kmeans(points: Float32, count: int, seed: int) -> Int64:
    """Deal unit vectors out to clusters so that the sum of their cosines with their cluster's direction is high.

    The best of ten starts, each spread out over the points as k-means++ does. No cluster stays empty while there are
    points that differ. Computes in float64; the same seed gives the same clusters.

    Source: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering (2001); the start is
    that of Arthur and Vassilvitskii, k-means++ (2007), whose squared distances are 2 - 2 cos here.

    Args:
        points: (N, D).
        count: Clusters K, 1 to N.
        seed: Decides the starts.

    Returns:
        The cluster of each point, 0 to K - 1, int64 (N,).
    """
    exact, rng = points.astype(np.float64), np.random.default_rng(seed)
    runs = [_run(exact, _spread_out(exact, count, rng)) for _ in range(_RESTARTS)]
    return max(runs, key=lambda run: run[1])[0]


def _spread_out(points: Float64, count: int, rng: np.random.Generator) -> Float64:
    """Points (K, D) to start from: the farther from those already drawn, the likelier."""
    drawn = [points[rng.integers(len(points))]]
    gaps = 1.0 - points @ drawn[0]
    while len(drawn) < count:
        weights = np.maximum(gaps, 0.0) + 1e-12  # copies of drawn points are left when nothing else is
        drawn.append(points[rng.choice(len(points), p=weights / weights.sum())])
        gaps = np.minimum(gaps, 1.0 - points @ drawn[-1])
    return np.stack(drawn)


def _run(points: Float64, directions: Float64) -> tuple[Int64, float]:
    """Clusters (N,) that no point wants to leave, and the sum of the cosines with their directions."""
    labels = np.full(len(points), -1)
    for _ in range(_MOST_ROUNDS):
        before, labels = labels, _nearest_directions(points, directions)
        directions = np.zeros_like(directions)
        np.add.at(directions, labels, points)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)  # (K, 1)
        directions /= np.maximum(lengths, 1e-12)
        if np.array_equal(labels, before):
            break
    return labels, float(lengths.sum())


def _nearest_directions(points: Float64, directions: Float64) -> Int64:
    """The nearest direction of each point (N,); one that is nearest to none gets the point that fits its own worst."""
    scores = points @ directions.T  # (N, K)
    labels: Int64 = scores.argmax(axis=1)
    fits = scores.max(axis=1)
    for cluster in np.setdiff1d(np.arange(len(directions)), labels):
        alone = np.bincount(labels, minlength=len(directions))[labels] == 1
        moved = np.where(alone, np.inf, fits).argmin()
        labels[moved], fits[moved] = cluster, 1.0
    return labels
