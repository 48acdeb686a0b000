"""Exact Hit@10 against matmul + topk (torch, numpy), FAISS and usearch; real vectors, copy-last queries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import faiss
import numpy as np
import pytest
import torch
import usearch.index

import lvm_fast as lf

QUERIES, K = 1149, 10


class Work(NamedTuple):
    queries: np.ndarray  # (1149, 768): the chunk before each target
    pool: np.ndarray  # (N, 768)
    targets: np.ndarray  # (1149,) ids in the pool
    hits: float  # the true Hit@10, in float64


def true_hits(queries: np.ndarray, pool: np.ndarray, targets: np.ndarray) -> float:
    hits = 0
    wide = pool.astype(np.float64)
    for query, target in zip(queries.astype(np.float64), targets, strict=True):
        scores = wide @ query
        hits += np.count_nonzero(scores > scores[target]) < K
    return hits / len(queries)


@pytest.fixture(scope="module", params=["targets", "store"])
def work(request: pytest.FixtureRequest, vectors: np.ndarray) -> Work:
    rows = np.random.default_rng(0).permutation(len(vectors) - 1)[:QUERIES] + 1
    queries = vectors[rows - 1]
    pool, targets = (vectors[rows], np.arange(QUERIES)) if request.param == "targets" else (vectors, rows)
    return Work(queries, pool, targets, true_hits(queries, pool, targets))


def with_lvm_fast(work: Work) -> Callable[[], float]:
    return lambda: lf.hit_at_k(work.queries, work.targets, ks=(K,), bank=lf.VectorBank(work.pool), mrr=False)["hit@10"]


def with_full_ranks(work: Work) -> Callable[[], float]:
    return lambda: lf.hit_at_k(work.queries, work.targets, ks=(K,), bank=lf.VectorBank(work.pool))["hit@10"]


def found(ids: Any, work: Work) -> float:
    return float((np.asarray(ids) == work.targets[:, None]).any(axis=1).mean())


def with_torch(work: Work, dtype: torch.dtype) -> Callable[[], float]:
    queries, pool = (torch.from_numpy(a).to(dtype) for a in (work.queries, work.pool))
    return lambda: found((queries @ pool.T).topk(K).indices, work)


def with_numpy(work: Work) -> Callable[[], float]:
    return lambda: found(np.argpartition(-(work.queries @ work.pool.T), K, axis=1)[:, :K], work)


def with_faiss(work: Work) -> Callable[[], float]:
    index = faiss.IndexFlatIP(work.pool.shape[1])
    index.add(work.pool)
    return lambda: found(index.search(work.queries, K)[1], work)


def with_usearch(work: Work) -> Callable[[], float]:
    threads = lf.kernels.num_threads()
    return lambda: found(
        usearch.index.search(work.pool, work.queries, K, metric="ip", exact=True, threads=threads).keys, work
    )


PEERS: dict[str, tuple[Callable[[Work], Callable[[], float]], float]] = {  # and how far from exact the answer may be
    "lvm_fast": (with_lvm_fast, 0.0),
    "lvm_fast, full ranks and MRR": (with_full_ranks, 0.0),
    "torch fp32 matmul+topk": (lambda work: with_torch(work, torch.float32), 0.001),
    "torch bf16 matmul+topk (inexact)": (lambda work: with_torch(work, torch.bfloat16), 0.02),
    "FAISS flat": (with_faiss, 0.001),
    "usearch exact": (with_usearch, 0.001),
    "numpy matmul+argpartition": (with_numpy, 0.001),
}


@pytest.mark.parametrize("peer", PEERS)
def test_hit_at_10(timed, work, peer):
    prepare, tolerance = PEERS[peer]
    rounds = 1 if peer.startswith("usearch") and len(work.pool) > QUERIES else 5  # it takes half a minute
    hits = timed(f"exact Hit@10, {QUERIES:,} x {len(work.pool):,}", peer, prepare(work), rounds)
    assert abs(hits - work.hits) <= tolerance
