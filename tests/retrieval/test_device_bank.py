"""The engine of banks on a GPU: here on the CPU, in every dtype of its products, against the core and the oracle."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from device_banks import CPU, HARD_SETS, PRODUCTS, answers, on
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import best_first, check_everything, fixed_order_scores, true_ranks
from torch.utils._python_dispatch import TorchDispatchMode

import lvm_fast as lf
from lvm_fast.retrieval.device_bank import DeviceBank
from lvm_fast.retrieval.device_rows import Place

PLACES = {f"{dtype}, {numbers}": Place(CPU, CPU, dtype, numbers) for dtype in PRODUCTS for numbers in (700, 1 << 20)}


@pytest.fixture(params=PLACES)
def place(request):
    return PLACES[request.param]


@pytest.fixture(params=PRODUCTS[:2], ids=str)
def small_tiles(request):
    return Place(CPU, CPU, request.param, 2000)


@pytest.mark.parametrize("dim", [1, 31, 32, 33, 768])
def test_random_vectors_of_awkward_sizes(place, rng, dim):
    for count, size in ((1, 1), (3, 65), (20, 63)):
        queries, vectors = (rng.standard_normal((n, dim)).astype(np.float32) for n in (count, size))
        check_everything(queries, vectors, fixed_order_scores(queries, vectors), on(place, vectors), rng)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", HARD_SETS)
def test_hard_sets(small_tiles, rng, kind, metric):
    vectors = HARD_SETS[kind](rng, 150, 40).astype(np.float32)
    queries = np.concatenate([vectors[:15], rng.standard_normal((15, 40)).astype(np.float32)])
    scores, bank = fixed_order_scores(queries, vectors, metric), on(small_tiles, vectors, metric=metric)
    check_everything(queries, vectors, scores, bank, rng)


STORED = {
    "float16": lambda x: x.astype(np.float16),
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "torch bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "torch, with gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1],
    "float64": lambda x: x.astype(np.float64),
}


@pytest.mark.parametrize("kind", STORED)
def test_every_way_to_store_vectors(small_tiles, rng, kind):
    vectors = STORED[kind](rng.standard_normal((140, 37)).astype(np.float32))
    queries = STORED[kind](rng.standard_normal((5, 37)).astype(np.float32))
    wide = [
        np.asarray(a.detach().float() if isinstance(a, torch.Tensor) else a, np.float32) for a in (queries, vectors)
    ]
    check_everything(queries, vectors, fixed_order_scores(*wide), on(small_tiles, vectors), rng)


def test_int8_rows_and_those_of_a_mapped_store(small_tiles, rng, tmp_path):
    raw = rng.integers(-127, 128, (90, 33)).astype(np.int8)
    scales = rng.uniform(0.001, 0.1, 90).astype(np.float32)
    lf.ChainStore.write(tmp_path / "s.safetensors", raw, [0, 90], scales=scales)
    vectors = lf.ChainStore.open(tmp_path / "s.safetensors").vectors
    values = raw.astype(np.float32) * scales[:, None]
    queries = rng.standard_normal((11, 33)).astype(np.float32)
    bank = on(small_tiles, vectors)
    check_everything(queries, values, fixed_order_scores(queries, values), bank, rng)
    np.testing.assert_array_equal(bank.rank(vectors, np.arange(90)), lf.VectorBank(values).rank(values, np.arange(90)))


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("kind", ["one ulp apart", "duplicates", "sparse", "norms of all sizes"])
def test_bit_for_bit_what_the_core_answers(small_tiles, rng, kind, metric):
    vectors = HARD_SETS[kind](rng, 200, 96).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    queries = vectors[:40] + rng.standard_normal((40, 96)).astype(np.float32) * 1e-3
    targets = rng.integers(0, 200, 40)
    core, bank = lf.VectorBank(vectors, metric=metric), on(small_tiles, vectors, metric=metric)
    assert answers(bank, queries, targets, metric) == answers(core, queries, targets, metric)


@pytest.mark.parametrize("scale", [1.0, 20.0, 1e-3])
def test_logsumexp(small_tiles, rng, scale):
    vectors = rng.standard_normal((300, 65)).astype(np.float32)
    queries = rng.standard_normal((40, 65)).astype(np.float32)
    sums, ids = on(small_tiles, vectors).logsumexp(queries, scale)
    core_sums, core_ids = lf.VectorBank(vectors).logsumexp(queries, scale)
    np.testing.assert_allclose(sums, core_sums, rtol=2e-6, atol=2e-6 * scale)
    np.testing.assert_array_equal(ids, core_ids)


def test_logsumexp_refuses_scores_that_overflow(small_tiles):
    vectors = np.zeros((16, 4), np.float32)
    vectors[3] = [10, 10, 0, 0]
    for query in ([3e38, -3e38, 0, 0], [3e38, 3e38, 0, 0], [-3e38, -3e38, 0, 0]):
        with pytest.raises(ValueError, match="logsumexp: queries: expected scores within float32's range"):
            on(small_tiles, vectors).logsumexp(np.array([query], np.float32))


@pytest.mark.parametrize("kind", ["all identical", "duplicates", "one ulp apart"])
def test_more_undecided_than_wait(small_tiles, rng, kind):
    vectors = HARD_SETS[kind](rng, 2000, 20).astype(np.float32)
    queries = vectors[:8] + 0
    scores = fixed_order_scores(queries, vectors)
    bank = on(small_tiles, vectors)
    for k in (1, 5):
        np.testing.assert_array_equal(bank.topk(queries, k)[1], best_first(scores)[:, :k])
    targets = rng.integers(0, 2000, 8)
    np.testing.assert_array_equal(bank.rank(queries, targets), true_ranks(scores, targets))
    excluded = np.stack([best_first(scores)[:, 0], np.full(8, -1)], axis=1)
    got = bank.band(queries, -np.inf, np.inf, 5, exclude=excluded)
    np.testing.assert_array_equal(got, best_first(scores)[:, 1:6])


def test_what_comes_after_many_that_are_alike(small_tiles, rng):
    base = rng.standard_normal(16).astype(np.float32)
    factors = np.concatenate([[2.0], 1 - 1e-6 * np.arange(1000), [1.5, 1.2]])
    vectors = (factors[:, None] * base).astype(np.float32)
    bank, scores = on(small_tiles, vectors), fixed_order_scores(base[None], vectors)
    for k in (2, 5):
        np.testing.assert_array_equal(bank.topk(base[None], k)[1], best_first(scores)[:, :k])


def test_settled_queries_leave_and_more_queries_than_one_block(small_tiles, rng, monkeypatch):
    monkeypatch.setattr("lvm_fast.retrieval.device_bank._MOST_QUERIES", 16)
    vectors = rng.standard_normal((500, 8)).astype(np.float32)
    queries = rng.standard_normal((50, 8)).astype(np.float32)
    scores = fixed_order_scores(queries, vectors)
    targets = np.where(np.arange(50) % 3 == 0, scores.argmax(axis=1), rng.integers(0, 500, 50))
    bank = on(small_tiles, vectors)
    for most in (1, 2, 10, 400, 2**62):
        np.testing.assert_array_equal(
            bank.rank(queries, targets, max_rank=most), np.minimum(true_ranks(scores, targets), most)
        )
    screened, refined, rescored = bank._contents.take_tally()
    assert 0 < rescored <= refined < screened < 5 * 50 * 500  # settled ones were not screened to the end
    assert bank._contents.take_tally().tolist() == [0, 0, 0]
    check_everything(queries, vectors, scores, bank, rng)


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest new tensor has."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.most = max(self.most, tensor.numel())
        return result


@pytest.mark.parametrize("kind", ["random", "all identical"])
def test_memory_does_not_grow_with_queries_times_candidates(rng, kind):
    vectors = rng.standard_normal((2000, 4)) if kind == "random" else np.ones((2000, 4))
    vectors, queries = vectors.astype(np.float32), rng.standard_normal((300, 4)).astype(np.float32)
    bank = on(Place(CPU, CPU, torch.float32, 50_000), vectors)
    with LargestTensor() as largest:
        bank.rank(queries, np.arange(300))
        bank.topk(queries, 10)
        bank.logsumexp(queries)
    assert 50_000 <= largest.most <= 300 * (2 * 10 + 256) + 2 * 50_000  # of 600,000 pairs


def test_queries_that_are_none_or_alone(small_tiles, rng):
    vectors = rng.standard_normal((30, 4)).astype(np.float32)
    bank, core = on(small_tiles, vectors), lf.VectorBank(vectors)
    assert bank.topk(vectors[:0], 2)[1].shape == (0, 2)
    assert bank.rank(vectors[:0], np.zeros(0, np.int64)).shape == (0,)
    assert bank.topk(vectors[3], 5)[1].tolist() == core.topk(vectors[3], 5)[1].tolist()
    assert (bank.band(vectors, 0.5, 0.5, 3) == -1).all()
    ids = np.array([[3]])
    ids.flags.writeable = False
    assert 3 not in bank.band(vectors[3:4], -np.inf, np.inf, 30, exclude=ids)


GOOD = np.ones((4, 3), np.float32)
NAN = np.array([[1, 2, 3], [1, np.nan, 3], [np.inf, 0, 0]], np.float32)
ZERO = np.array([[1, 2, 3], [1, 1, 1], [0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda make: make(NAN),
        lambda make: make(ZERO, True),
        lambda make: make(np.ones((1, 65537), np.float32)),
        lambda make: make(GOOD).refill(NAN),
        lambda make: make(GOOD).rank(NAN, [0] * 3),
        lambda make: make(GOOD).topk(NAN, 1),
        lambda make: make(GOOD).band(NAN, 0, 1, 1),
        lambda make: make(GOOD).logsumexp(NAN),
        lambda make: make(GOOD).pair_scores(NAN, [0] * 3),
        lambda make: make(GOOD).pair_scores(GOOD, [0, 1, 2, 4]),
        lambda make: make(GOOD, True).rank(ZERO, [0] * 3),
        lambda make: make(GOOD, True).topk(ZERO, 1),
        lambda make: make(GOOD, True).pair_scores(ZERO, [0] * 3),
    ],
)
def test_mistakes_are_told_as_the_core_tells_them(call, monkeypatch):
    with pytest.raises(ValueError, match="expected") as of_core:
        call(lf.VectorBank)
    engine = lambda device, rows, metric: DeviceBank(rows, metric, Place(CPU, CPU, torch.float16, 4))  # noqa: E731
    monkeypatch.setattr("lvm_fast.retrieval.contents.engine_on", engine)
    with pytest.raises(ValueError, match="expected") as of_device:
        call(lf.VectorBank)
    assert str(of_device.value) == str(of_core.value)


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 150), st.integers(1, 70)),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(HARD_SETS)),
    stored=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]),
    products=st.sampled_from(PRODUCTS),
    numbers=st.sampled_from([50, 999, 1 << 20]),
    metric=st.sampled_from(["ip", "cosine", "l2"]),
)
def test_any_bank_and_any_queries(shape, seed, kind, stored, products, numbers, metric):
    count, size, dim = shape
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        vectors, queries = (HARD_SETS[kind](rng, n, dim).astype(stored).astype(np.float32) for n in (size, count))
    for rows in (vectors, queries):
        rows[~np.isfinite(rows)] = 3
        if metric == "cosine":
            rows[~rows.any(axis=1)] = 1
    queries[: min(count, size) // 2] = vectors[: min(count, size) // 2]
    scored = [queries, vectors]
    if metric == "cosine":
        lengths = [np.sqrt(fixed_order_scores(a, a).diagonal()) for a in scored]
        scored = [(a * (1 / n)[:, None]).astype(np.float32) for a, n in zip(scored, lengths, strict=True)]
    bank = on(Place(CPU, CPU, products, numbers), vectors.astype(stored), metric=metric)
    check_everything(queries, vectors, fixed_order_scores(*scored, metric), bank, rng)
