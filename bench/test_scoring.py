"""Exact ranks, Hit@10, top-10 and bands against other libraries, on real and on random vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import faiss
import numkong
import numpy as np
import pytest
import torch
import usearch.index
from peak_memory import peak_megabytes
from sklearn.neighbors import NearestNeighbors

import lvm_fast as lf

QUERIES, K, RANDOM = 1149, 10, 100_000
LOW, HIGH, LIMIT = 0.75, 0.9, 16  # of the mining band


class Work(NamedTuple):
    name: str
    queries: np.ndarray  # (B, 768)
    pool: np.ndarray  # (N, 768)
    targets: np.ndarray  # (B,) ids in the pool
    ranks: np.ndarray  # (B,) true, in float64


def in_float64(queries: np.ndarray, pool: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(b, its scores against the pool), every query in turn."""
    wide = np.ascontiguousarray(pool, np.float64)
    for first in range(0, len(queries), 64):
        block = queries[first : first + 64].astype(np.float64) @ wide.T
        yield from enumerate(block, first)


def true_ranks(queries: np.ndarray, pool: np.ndarray, targets: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(queries), np.int64)
    for b, scores in in_float64(queries, pool):
        target = targets[b]
        ties = scores[:target] == scores[target]
        ranks[b] = np.count_nonzero(scores > scores[target]) + np.count_nonzero(ties)
    return ranks


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def random_work(count: int, size: int, related: bool) -> Work:
    """Unit vectors. Related queries have a cosine of about 0.7 with their targets, as a fair model's predictions do."""
    rng = np.random.default_rng(0)
    pool = unit(rng.standard_normal((size, 768), dtype=np.float32))
    targets = rng.integers(0, size, count)
    noise = unit(rng.standard_normal((count, 768), dtype=np.float32))
    queries = unit(pool[targets] + noise) if related else noise
    name = f"random{'' if related else ', unrelated queries'}, {count:,} x {size:,}"
    return Work(name, queries, pool, targets, true_ranks(queries, pool, targets) if size <= RANDOM else np.empty(0))


@pytest.fixture(scope="module", params=["targets", "store", "random", "random, unrelated queries"])
def work(request: pytest.FixtureRequest, vectors: np.ndarray) -> Work:
    if request.param.startswith("random"):
        return random_work(QUERIES, RANDOM, related=request.param == "random")
    rows = np.random.default_rng(0).permutation(len(vectors) - 1)[:QUERIES] + 1
    queries = vectors[rows - 1]  # copy-last: the chunk before each target
    pool, targets = (vectors[rows], np.arange(QUERIES)) if request.param == "targets" else (vectors, rows)
    whole = "" if request.param == "targets" else " (the whole store)"
    name = f"real, {QUERIES:,} x {len(pool):,}{whole}"
    return Work(name, queries, pool, targets, true_ranks(queries, pool, targets))


@contextmanager
def at_level(level: str) -> Iterator[None]:
    before = lf.kernels.simd_level()
    lf.kernels.set_simd_level(level)
    yield
    lf.kernels.set_simd_level(before)


class Taken:
    """Counts the pairs that the calls of one row screened, refined and rescored, without packing."""

    def __init__(self, work: Work, limits: Any) -> None:
        self.pairs, self.dim, self.limits = len(work.queries) * len(work.pool), work.pool.shape[1], limits
        self.calls, self.counts = 0, np.zeros(3)

    def after(self, bank: lf.VectorBank, result: Any) -> Any:
        self.calls += 1
        self.counts += bank._contents.take_tally()
        return result

    def note(self, _: Any, median: float) -> str:
        """Integer operations a second of the coarse products made, and their share of the ceiling; shares of pairs."""
        screened, refined, rescored = self.counts / self.calls
        speed = 2 * screened * self.dim / median / 1e12
        ceiling = self.limits.int8_ops(lf.kernels.simd_level())
        share = f" = {speed / ceiling:.0%} of {ceiling:.3g}" if ceiling else ""
        shares = (screened / self.pairs, refined / self.pairs, rescored / self.pairs)
        return "{:.3g} TOP/s{}; {:.0%} screened, {:.1%} refined, {:.2%} rescored".format(speed, share, *shares)


_BEST: dict[str, np.ndarray] = {}


def exact_best(work: Work) -> np.ndarray:
    """(B, K) ids of the true ten best, in float64."""
    if work.name in _BEST:
        return _BEST[work.name]
    lists = []
    for _, scores in in_float64(work.queries, work.pool):
        near = np.sort(np.argpartition(-scores, 4 * K)[: 4 * K]) if len(scores) > 4 * K else np.arange(len(scores))
        lists.append(near[np.argsort(-scores[near], kind="stable")[:K]])
    _BEST[work.name] = np.stack(lists)
    return _BEST[work.name]


def wrong_lists(ids: Any, best: np.ndarray) -> str:
    found = np.sort(np.asarray(ids).astype(np.int64), axis=1)
    return f"{np.mean((found != np.sort(best, axis=1)).any(axis=1)):.1%} of the ten best wrong"


def products(work: Work, median: float, ceiling: float | None) -> str:
    """Note all products a second, beside the ceiling of the unit that makes them."""
    speed = 2 * len(work.queries) * work.pool.size / median / 1e12
    return f"{speed:.3g} TFLOP/s" + (f" = {speed / ceiling:.0%} of {ceiling:.3g}" if ceiling else "")


Peer = tuple[Callable[[], Any], float]  # the ids of the ten best, and how far from exact Hit@10 may be


def with_torch(work: Work, dtype: torch.dtype, tolerance: float) -> Peer:
    queries, pool = (torch.from_numpy(a).to(dtype) for a in (work.queries, work.pool))
    return lambda: (queries @ pool.T).topk(K).indices, tolerance


def with_numpy(work: Work) -> Peer:
    return lambda: np.argpartition(-(work.queries @ work.pool.T), K, axis=1)[:, :K], 0.001


def with_faiss(work: Work) -> Peer:
    index = faiss.IndexFlatIP(work.pool.shape[1])
    index.add(work.pool)
    return lambda: index.search(work.queries, K)[1], 0.001


def with_usearch(work: Work) -> Peer:
    threads = lf.kernels.num_threads()
    search = usearch.index.search
    return lambda: search(work.pool, work.queries, K, metric="ip", exact=True, threads=threads).keys, 0.001


def with_numkong(work: Work) -> Peer:
    """Score by packed products, summed in float64, a part of the queries on each thread; it has no selection."""
    packed, threads = numkong.dots_pack(work.pool), lf.kernels.num_threads()
    step = -(-len(work.queries) // threads)

    def best(first: int) -> np.ndarray:
        scores = np.asarray(numkong.dots_packed(work.queries[first : first + step], packed))
        return np.argpartition(-scores, K, axis=1)[:, :K]

    def call() -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(best, range(0, len(work.queries), step))))

    return call, 0.001


def with_sklearn(work: Work) -> Peer:
    near = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine", n_jobs=1).fit(work.pool)
    return lambda: near.kneighbors(work.queries, return_distance=False), 0.001


PEERS: dict[str, Callable[[Work], Peer]] = {
    "torch fp32": lambda work: with_torch(work, torch.float32, 0.001),
    "torch bf16 (inexact)": lambda work: with_torch(work, torch.bfloat16, 0.02),
    "FAISS flat": with_faiss,
    "usearch exact": with_usearch,
    "numpy": with_numpy,
    "NumKong": with_numkong,
    "sklearn": with_sklearn,
}
PEER_NAMES = {
    "torch fp32": "torch fp32 matmul+topk",
    "torch bf16 (inexact)": "torch bf16 matmul+topk (inexact)",
    "FAISS flat": "FAISS flat",
    "usearch exact": "usearch exact",
    "numpy": "numpy matmul+argpartition",
    "NumKong": "NumKong packed products+argpartition",
    "sklearn": "sklearn brute force, cosine",
}


def note_of_peer(work: Work, peer: str, limits: Any) -> Callable[[Any, float], str]:
    """Note a peer's products beside its unit's ceiling, and how many of its lists are wrong."""
    best = exact_best(work)

    def note(ids: Any, median: float) -> str:
        ceiling = limits.bf16_ops() if "bf16" in peer else limits.fp32_ops()
        return f"{products(work, median, ceiling)}; {wrong_lists(ids, best)}"

    return note


Timed = Callable[..., Any]
Call = Callable[[lf.VectorBank], Any]


class TestRanks:
    """Hit@10 (ranks up to 10), full ranks and top-10; the bank packed beforehand, but for the pool of the targets."""

    def ours(
        self, timed: Timed, limits: Any, work: Work, group: str, call: Call, level: str = "", rounds: int = 15
    ) -> Any:
        taken = Taken(work, limits)
        packed = None if len(work.pool) == QUERIES else lf.VectorBank(work.pool)

        def run() -> Any:
            bank = lf.VectorBank(work.pool) if packed is None else packed
            return taken.after(bank, call(bank))

        name = f"lvm_fast, {level}" if level else "lvm_fast"
        with at_level(level or lf.kernels.simd_level()):
            return timed(self.group(group, work), name, run, rounds, taken.note)

    def group(self, kind: str, work: Work) -> str:
        return f"{kind}, {'packing included, ' if len(work.pool) == QUERIES else ''}{work.name}"

    def test_hit_at_10(self, timed: Timed, limits: Any, work: Work) -> None:
        ranks = self.ours(timed, limits, work, "exact Hit@10", lambda bank: bank.rank(work.queries, work.targets, K))
        np.testing.assert_array_equal(ranks, np.minimum(work.ranks, K))

    @pytest.mark.skipif("avx512" not in lf.kernels.simd_levels(), reason="no AVX-512 here")
    def test_hit_at_10_without_tiles(self, timed: Timed, limits: Any, work: Work) -> None:
        call: Call = lambda bank: bank.rank(work.queries, work.targets, K)  # noqa: E731
        ranks = self.ours(timed, limits, work, "exact Hit@10", call, "avx512")
        np.testing.assert_array_equal(ranks, np.minimum(work.ranks, K))

    @pytest.mark.parametrize("peer", PEERS)
    def test_hit_at_10_of_peers(self, timed: Timed, limits: Any, work: Work, peer: str) -> None:
        if len(work.pool) >= RANDOM and "unrelated" in work.name and peer != "torch fp32":
            pytest.skip("as with related queries")
        call, tolerance = PEERS[peer](work)
        rounds = 1 if peer == "usearch exact" and len(work.pool) > QUERIES else 5  # it takes half a minute
        note = note_of_peer(work, peer, limits)
        ids = timed(self.group("exact Hit@10", work), PEER_NAMES[peer], call, rounds, note=note)
        hits = (np.asarray(ids) == work.targets[:, None]).any(axis=1).mean()
        assert abs(hits - (work.ranks < K).mean()) <= tolerance

    def test_full_ranks(self, timed: Timed, limits: Any, work: Work) -> None:
        ranks = self.ours(timed, limits, work, "full exact ranks", lambda bank: bank.rank(work.queries, work.targets))
        np.testing.assert_array_equal(ranks, work.ranks)

    def test_full_ranks_with_torch(self, timed: Timed, limits: Any, work: Work) -> None:
        queries, pool, targets = (torch.from_numpy(a) for a in (work.queries, work.pool, work.targets))

        def count() -> torch.Tensor:
            scores = queries @ pool.T
            return (scores > scores.gather(1, targets[:, None])).sum(1)

        def note(ranks: Any, median: float) -> str:
            wrong = np.mean(ranks.numpy() != work.ranks)
            return f"{products(work, median, limits.fp32_ops())}; {wrong:.1%} of the ranks wrong"

        ranks = timed(self.group("full exact ranks", work), "torch fp32 matmul+count", count, 5, note=note)
        assert np.mean(ranks.numpy() != work.ranks) < 0.5  # float32 scores: many ranks are off by a few

    def test_top_10(self, timed: Timed, limits: Any, work: Work) -> None:
        _, ids = self.ours(timed, limits, work, "exact top-10", lambda bank: bank.topk(work.queries, K))
        np.testing.assert_array_equal(ids, exact_best(work))

    @pytest.mark.parametrize("each", [False, True], ids=["one mask", "a mask a query"])
    def test_top_10_half_allowed(self, timed: Timed, limits: Any, work: Work, each: bool) -> None:
        """Beside the row without a filter: the aim is at most 1.2 times its median."""
        shape = (len(work.queries), len(work.pool)) if each else (len(work.pool),)
        allow = np.random.default_rng(0).random(shape) < 0.5
        call: Call = lambda bank: bank.topk(work.queries, K, allow=allow)  # noqa: E731
        _, ids = self.ours(timed, limits, work, f"exact top-10, half allowed by {'each' if each else 'all'}", call)
        assert np.take_along_axis(np.broadcast_to(allow, (len(ids), len(work.pool))), ids, 1).all()

    @pytest.mark.parametrize("peer", ["torch fp32", "NumKong", "FAISS flat", "sklearn"])
    def test_top_10_of_peers(self, timed: Timed, limits: Any, work: Work, peer: str) -> None:
        if "unrelated" in work.name and peer != "torch fp32":
            pytest.skip("as with related queries")
        call, _ = PEERS[peer](work)
        timed(self.group("exact top-10", work), PEER_NAMES[peer], call, 5, note=note_of_peer(work, peer, limits))

    def test_top_10_built_for_search(self, timed: Timed, limits: Any, work: Work) -> None:
        if len(work.pool) == QUERIES:
            pytest.skip("too few candidates for prefixes")
        taken, bank = Taken(work, limits), lf.VectorBank(work.pool, build="search")
        _, ids = timed(
            self.group("exact top-10", work),
            "lvm_fast, built for search",
            lambda: taken.after(bank, bank.topk(work.queries, K)),
            15,
            taken.note,
        )
        np.testing.assert_array_equal(ids, exact_best(work))


MILLION = """
import numpy as np, lvm_fast as lf

rng = np.random.default_rng(0)
vectors = np.empty((1_000_000, 768), np.float32)
for block in np.split(vectors, 100):
    rng.standard_normal(out=block, dtype=np.float32)
bank = lf.VectorBank(vectors)
"""


@pytest.fixture(scope="module")
def million() -> Work:
    return random_work(1000, 1_000_000, related=True)


@pytest.mark.long
class TestMillion:
    def test_full_ranks(self, timed: Timed, limits: Any, million: Work) -> None:
        bank, taken = lf.VectorBank(million.pool), Taken(million, limits)
        call = lambda: taken.after(bank, bank.rank(million.queries, million.targets))  # noqa: E731
        ranks = timed(f"full exact ranks, {million.name}", "lvm_fast", call, 5, taken.note)
        assert (ranks == 0).all()

    def test_with_torch(self, timed: Timed, million: Work) -> None:
        queries, pool, targets = (torch.from_numpy(a) for a in (million.queries, million.pool, million.targets))
        wanted = (queries * pool[targets]).sum(1, keepdim=True)
        block = 100_000  # scores of all candidates at once would take 4 GB of fresh memory

        def count() -> torch.Tensor:
            counts = [(queries @ pool[first : first + block].T > wanted).sum(1) for first in range(0, len(pool), block)]
            return torch.stack(counts).sum(0)

        ranks = timed(f"full exact ranks, {million.name}", "torch fp32 matmul+count", count, 1)
        assert (ranks <= 1).all()

    @pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="measured with Linux's means")
    def test_memory(self, timed: Timed, million: Work) -> None:
        measure = partial(peak_megabytes, MILLION, "bank.rank(vectors[:1000], np.arange(1000))")
        group = f"memory beyond the packed bank, full exact ranks, {million.name}"
        assert timed(group, "lvm_fast", measure, 1, value=lambda mb: (mb, f"{mb:.0f} MB")) < 64

    def test_packing(self, timed: Timed, limits: Any, million: Work) -> None:
        bank = lf.VectorBank(million.pool)
        moved = million.pool.nbytes + 2 * million.pool.size  # read float32, write two planes of int8

        def share(_: Any, median: float) -> str:
            return f"{moved / median / 1e9:.1f} GB/s = {moved / median / limits.copy_bandwidth():.0%} of a copy's"

        timed("packing 1,000,000 x 768 into warm buffers", "lvm_fast", lambda: bank.refill(million.pool), 3, note=share)


@pytest.mark.long
class TestMining:
    """Every chunk of the store against every other: cosines in a band, the best 16."""

    @pytest.mark.parametrize("build", ["fast", "search"])
    def test_band(self, timed: Timed, limits: Any, vectors: np.ndarray, build: str) -> None:
        bank, itself = lf.VectorBank(vectors, build=build), np.arange(len(vectors))
        work = Work(f"real, {len(vectors):,} x {len(vectors):,}", vectors, vectors, itself, np.empty(0))
        taken = Taken(work, limits)
        call = lambda: taken.after(bank, bank.band(vectors, LOW, HIGH, LIMIT, exclude=itself[:, None]))  # noqa: E731
        name = "lvm_fast" if build == "fast" else "lvm_fast, built for search"
        ids = timed(f"band mining, {work.name}", name, call, 3, taken.note)
        some = np.random.default_rng(0).integers(0, len(vectors), 20)
        for i in some:
            scores = vectors.astype(np.float64) @ vectors[i].astype(np.float64)
            wanted = [j for j in np.argsort(-scores, kind="stable") if LOW <= scores[j] < HIGH and j != i]
            assert ids[i].tolist() == (wanted + [-1] * LIMIT)[:LIMIT]

    def test_with_torch(self, timed: Timed, vectors: np.ndarray) -> None:
        pool = torch.from_numpy(vectors)
        block = 1024

        def mine() -> list[torch.Tensor]:
            found = []
            for first in range(0, len(pool), block):
                scores = pool[first : first + block] @ pool.T
                scores[torch.arange(len(scores)), torch.arange(first, first + len(scores))] = -1
                scores.masked_fill_((scores < LOW) | (scores >= HIGH), -1)
                found.append(scores.topk(LIMIT).indices)
            return found

        name = f"band mining, real, {len(vectors):,} x {len(vectors):,}"
        timed(name, "torch fp32 chunked matmul+mask+topk", mine, 1)
