"""What a bank must answer, from the whole (B, N) matrix of scores in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from lvm_fast.retrieval.bank import VectorBank


def fixed_order_scores(queries: np.ndarray, vectors: np.ndarray, metric: str = "ip") -> np.ndarray:
    """The documented score: 32 partial sums by stride, then halves added, all in float64. (B, N).

    By metric="l2", minus the squared distance.
    """
    q, c = (np.asarray(a, np.float32).astype(np.float64) for a in (queries, vectors))
    pad = -q.shape[1] % 32
    q, c = (np.pad(a, ((0, 0), (0, pad))) for a in (q, c))
    partial = np.zeros((len(q), len(c), 32))
    for start in range(0, q.shape[1], 32):
        x, y = q[:, None, start : start + 32], c[None, :, start : start + 32]
        partial += (x - y) ** 2 if metric == "l2" else x * y
    half = 16
    while half:
        partial = partial[..., :half] + partial[..., half : 2 * half]
        half //= 2
    scores: np.ndarray = -partial[..., 0] if metric == "l2" else partial[..., 0]
    return scores


def shown(scores: np.ndarray, bank: VectorBank) -> np.ndarray:
    """Scores, of which more is better, as the bank gives them."""
    return -scores if bank.metric == "l2" else scores


def in_band(scores: np.ndarray, low: float, high: float, bank: VectorBank) -> np.ndarray:
    given = shown(scores, bank)
    return (low <= given) & (given < high)


def best_first(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")


def true_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    ranks: np.ndarray = np.argsort(best_first(scores), axis=1)[np.arange(len(scores)), targets]
    return ranks


def check_everything(
    queries: Any, vectors: Any, scores: np.ndarray, bank: VectorBank, rng: np.random.Generator
) -> None:
    """rank, topk and band of the bank against the full score matrix."""
    count, size = scores.shape
    order = best_first(scores)
    targets = rng.integers(0, size, (count,))
    ranks = true_ranks(scores, targets)
    np.testing.assert_array_equal(bank.rank(queries, targets), ranks)
    np.testing.assert_array_equal(bank.rank(queries, targets, max_rank=3), np.minimum(ranks, 3))
    for k in {1, min(5, size), size}:
        best, ids = bank.topk(queries, k)
        np.testing.assert_array_equal(ids, order[:, :k])
        with np.errstate(over="ignore"):  # past float32 the returned score is infinity; the order is still exact
            np.testing.assert_array_equal(best, shown(np.take_along_axis(scores, ids, 1).astype(np.float32), bank))
    low, high = np.quantile(shown(scores, bank), [0.3, 0.8])
    below = shown(scores[np.arange(count), targets], bank)
    np.testing.assert_array_equal(bank.pair_scores(queries, targets), below)
    got = bank.band(queries, low, high, 4, exclude=targets[:, None], below=below)
    for b in range(count):
        fits = in_band(scores[b], low, min(high, below[b]), bank)
        wanted = [i for i in order[b] if fits[i] and i != targets[b]]
        np.testing.assert_array_equal(got[b], (wanted + [-1] * 4)[: min(4, size)])
    check_filtered(queries, scores, bank, rng)


def check_filtered(queries: Any, scores: np.ndarray, bank: VectorBank, rng: np.random.Generator) -> None:
    """rank, topk and band of the bank under random filters against the full score matrix."""
    count, size = scores.shape
    filters, allowed = random_filters(rng, count, size)
    order = best_first(scores)
    targets = rng.integers(0, size, (count,))
    left = [[i for i in order[b] if allowed[b, i]] for b in range(count)]
    places = np.argsort(order, axis=1)
    ranks = [sum(places[b, i] < places[b, targets[b]] for i in left[b]) for b in range(count)]
    np.testing.assert_array_equal(bank.rank(queries, targets, **filters), ranks)
    k = min(5, size)
    best, ids = bank.topk(queries, k, **filters)
    np.testing.assert_array_equal(ids, [(row + [-1] * k)[:k] for row in left])
    with np.errstate(over="ignore"):
        found = np.where(ids < 0, -np.inf, np.take_along_axis(scores, ids, 1)).astype(np.float32)
    np.testing.assert_array_equal(best, shown(found, bank))
    low, high = np.quantile(shown(scores, bank), [0.3, 0.8])
    got = bank.band(queries, low, high, k, **filters)
    for b in range(count):
        fits = in_band(scores[b], low, high, bank)
        wanted = [i for i in left[b] if fits[i]]
        np.testing.assert_array_equal(got[b], (wanted + [-1] * k)[:k])


def random_filters(rng: np.random.Generator, count: int, size: int) -> tuple[dict[str, Any], np.ndarray]:
    """Filters of some kinds for `count` queries, and what they allow, (count, size)."""
    filters: dict[str, Any] = {}
    allowed = np.ones((count, size), bool)
    if rng.random() < 0.5:
        filters["exclude"] = exclude = rng.integers(-1, size, (count, rng.integers(0, 9)))
        for b in range(count):
            allowed[b, exclude[b][exclude[b] >= 0]] = False
    if rng.random() < 0.5:
        filters["exclude_ranges"] = ranges = np.sort(rng.integers(0, size + 1, (count, rng.integers(1, 4), 2)))
        for b in range(count):
            for first, end in ranges[b]:
                allowed[b, first:end] = False
    if not filters or rng.random() < 0.5:
        mask = rng.random((count, size) if rng.random() < 0.5 else size) < rng.choice([0.02, 0.5, 0.98])
        filters["allow"] = np.packbits(mask, axis=-1) if rng.random() < 0.5 else mask
        allowed &= mask
    return filters, allowed
