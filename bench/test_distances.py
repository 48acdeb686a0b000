"""Exact top-10 by squared distance against torch, FAISS and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from test_scoring import QUERIES, RANDOM, K, Taken, Timed, Work, in_float64, products, random_work, wrong_lists

import lvm_fast as lf


@pytest.fixture(scope="module")
def distances() -> Work:
    """Vectors of several lengths: by distance others are nearest than by inner product."""
    rng, work = np.random.default_rng(0), random_work(QUERIES, RANDOM, related=True)
    pool = work.pool * rng.uniform(0.8, 1.2, (len(work.pool), 1)).astype(np.float32)
    return work._replace(name=f"{work.name}, by distance", pool=pool)


def nearest_by_distance(work: Work) -> np.ndarray:
    """(B, K) ids of the nearest, in float64."""
    squares = np.square(work.pool.astype(np.float64)).sum(axis=1)
    lists = [np.argsort(squares - 2 * scores, kind="stable")[:K] for _, scores in in_float64(work.queries, work.pool)]
    return np.stack(lists)


def l2_with_torch(work: Work) -> Callable[[], Any]:
    queries, pool = torch.from_numpy(work.queries), torch.from_numpy(work.pool)
    squares = pool.square().sum(1)
    return lambda: torch.addmm(squares, queries, pool.T, alpha=-2).topk(K, largest=False).indices


def l2_with_faiss(work: Work) -> Callable[[], Any]:
    index = faiss.IndexFlatL2(work.pool.shape[1])
    index.add(work.pool)
    return lambda: index.search(work.queries, K)[1]


def l2_with_sklearn(work: Work) -> Callable[[], Any]:
    near = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="euclidean", n_jobs=1).fit(work.pool)
    return lambda: near.kneighbors(work.queries, return_distance=False)


L2_PEERS = {
    "torch fp32 matmul+topk": l2_with_torch,
    "FAISS flat": l2_with_faiss,
    "sklearn brute force, euclidean": l2_with_sklearn,
}


class TestDistances:
    """Top-10 by squared distance."""

    def test_top_10(self, timed: Timed, limits: Any, distances: Work) -> None:
        bank, taken = lf.VectorBank(distances.pool, metric="l2"), Taken(distances, limits)
        call = lambda: taken.after(bank, bank.topk(distances.queries, K)[1])  # noqa: E731
        ids = timed(f"exact top-10, {distances.name}", "lvm_fast", call, 15, taken.note)
        np.testing.assert_array_equal(ids, nearest_by_distance(distances))

    @pytest.mark.parametrize("peer", L2_PEERS)
    def test_top_10_of_peers(self, timed: Timed, limits: Any, distances: Work, peer: str) -> None:
        best = nearest_by_distance(distances)

        def note(ids: Any, median: float) -> str:
            return f"{products(distances, median, limits.fp32_ops())}; {wrong_lists(ids, best)}"

        ids = timed(f"exact top-10, {distances.name}", peer, L2_PEERS[peer](distances), 5, note)
        assert np.mean(np.sort(ids, axis=1) == np.sort(best, axis=1)) > 0.99
