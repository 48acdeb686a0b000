"""VectorBank against a float64 oracle that forms the whole (B, N) matrix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hard_vectors import DIMS, HARD_SETS, STORED, one_ulp_apart
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import best_first, check_everything, fixed_order_scores, true_ranks

import lvm_fast as lf
from lvm_fast.retrieval.checked_input import queries_of
from lvm_fast.retrieval.filters import Exclusions


@pytest.mark.parametrize("dim", DIMS)
def test_random_vectors_of_awkward_sizes(simd_level, rng, dim):
    for count, size in ((1, 1), (3, 65), (7, 130), (20, 63)):
        queries, vectors = (rng.standard_normal((n, dim)).astype(np.float32) for n in (count, size))
        check_everything(queries, vectors, fixed_order_scores(queries, vectors), lf.VectorBank(vectors), rng)


@pytest.mark.parametrize("kind", HARD_SETS)
@pytest.mark.parametrize("count", [2, 30, 70])  # one panel, barely filled and nearly full, and three
def test_hard_sets(simd_level, rng, kind, count):
    vectors = HARD_SETS[kind](rng, 150, 40).astype(np.float32)
    queries = np.concatenate([vectors[: count // 2], rng.standard_normal((count - count // 2, 40)).astype(np.float32)])
    check_everything(queries, vectors, fixed_order_scores(queries, vectors), lf.VectorBank(vectors), rng)


def test_equal_scores_go_to_the_lower_index(simd_level):
    vectors = np.ones((70, 5), np.float32)
    bank = lf.VectorBank(vectors)
    queries = np.ones((9, 5), np.float32)
    np.testing.assert_array_equal(bank.rank(queries, np.arange(9) * 7), np.arange(9) * 7)
    np.testing.assert_array_equal(bank.topk(queries, 3)[1], np.tile([0, 1, 2], (9, 1)))


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("count", [3, 25])
def test_every_way_to_store_vectors(simd_level, rng, kind, count):
    vectors = STORED[kind](rng.standard_normal((140, 37)).astype(np.float32))
    queries = STORED[kind](rng.standard_normal((count, 37)).astype(np.float32))
    wide = [np.asarray(a.float() if isinstance(a, torch.Tensor) else a, np.float32) for a in (queries, vectors)]
    check_everything(queries, vectors, fixed_order_scores(*wide), lf.VectorBank(vectors), rng)


def test_int8_rows_score_as_their_dequantised_values(simd_level, rng, tmp_path):
    raw = rng.integers(-127, 128, (90, 33)).astype(np.int8)
    scales = rng.uniform(0.001, 0.1, 90).astype(np.float32)
    lf.ChainStore.write(tmp_path / "s.safetensors", raw, [0, 90], scales=scales)
    store = lf.ChainStore.open(tmp_path / "s.safetensors")
    values = raw.astype(np.float32) * scales[:, None]
    queries = rng.standard_normal((11, 33)).astype(np.float32)
    bank = lf.VectorBank(store.vectors)
    check_everything(queries, values, fixed_order_scores(queries, values), bank, rng)
    np.testing.assert_array_equal(bank.topk(store.vectors, 1)[1], lf.VectorBank(values).topk(values, 1)[1])


def test_cosines(simd_level, rng):
    vectors = rng.standard_normal((100, 48)).astype(np.float32) * 10.0 ** rng.integers(-20, 18, (100, 1)).astype(
        np.float32
    )
    queries = rng.standard_normal((12, 48)).astype(np.float32) * 1e-30
    unit = [
        (a.astype(np.float64) * (1 / np.sqrt(np.diag(fixed_order_scores(a, a))))[:, None]).astype(np.float32)
        for a in (queries, vectors)
    ]
    bank = lf.VectorBank(vectors, normalize=True)
    check_everything(queries, vectors, fixed_order_scores(*unit), bank, rng)


def test_same_answers_at_every_level_and_thread_count(rng, restore_threads):
    vectors = one_ulp_apart(rng, 700, 96)
    queries = vectors[:40] + rng.standard_normal((40, 96)).astype(np.float32) * 1e-3
    answers = []
    before = lf.kernels.simd_level()
    for level in lf.kernels.simd_levels():
        for threads in (1, 2, 4):
            lf.kernels.set_simd_level(level)
            lf.kernels.set_num_threads(threads)
            bank = lf.VectorBank(vectors, normalize=True)
            scores, ids = bank.topk(queries, 20)
            answers.append((scores.tobytes(), ids.tobytes(), bank.rank(queries, np.arange(40)).tobytes()))
    lf.kernels.set_simd_level(before)
    assert len(set(answers)) == 1


def test_more_queries_than_one_block(rng):
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    queries = rng.standard_normal((3100, 8)).astype(np.float32)
    scores = fixed_order_scores(queries, vectors)
    check_everything(queries, vectors, scores, lf.VectorBank(vectors), rng)


small = st.integers(1, 70)
numbers = st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0**-130, 3.0, -3e38, 1e-3])


@settings(deadline=None, max_examples=100)
@given(count=st.integers(1, 9), size=small, dim=small, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_any_shape_full_of_ties(count, size, dim, seed, data):
    rng = np.random.default_rng(seed)
    values = np.array(data.draw(st.lists(numbers, min_size=1, max_size=4)), np.float32)
    queries, vectors = (rng.choice(values, (n, dim)) for n in (count, size))
    check_everything(queries, vectors, fixed_order_scores(queries, vectors), lf.VectorBank(vectors), rng)


def test_permuting_candidates_permutes_ids_and_a_worse_one_changes_nothing(rng):
    vectors = rng.standard_normal((200, 24)).astype(np.float32)
    queries = rng.standard_normal((10, 24)).astype(np.float32)
    order = rng.permutation(200)
    _, ids = lf.VectorBank(vectors).topk(queries, 9)
    _, permuted = lf.VectorBank(vectors[order]).topk(queries, 9)
    np.testing.assert_array_equal(order[permuted], ids)
    with_a_worse_one = np.concatenate([vectors, np.zeros((1, 24), np.float32)])
    np.testing.assert_array_equal(lf.VectorBank(with_a_worse_one).topk(queries, 9)[1], ids)


def test_the_bank_keeps_the_array_it_refers_to_alive(rng):
    vectors = rng.standard_normal((100, 16)).astype(np.float32)
    expected = fixed_order_scores(vectors[41:42], vectors)
    query = vectors[41:42].copy()
    bank = lf.VectorBank(vectors)
    del vectors
    assert bank.topk(query, 1)[1][0, 0] == best_first(expected)[0, 0]
    assert len(bank) == 100
    assert repr(bank) == "VectorBank(100 x 16, normalize=False)"


def test_scores_of_pairs_and_of_a_band(simd_level, rng):
    vectors = np.resize(rng.standard_normal((70, 33)), (100, 33)).astype(np.float32)
    queries = rng.standard_normal((9, 33)).astype(np.float32)
    scores = fixed_order_scores(queries, vectors)
    bank = lf.VectorBank(vectors)
    targets = rng.integers(0, 100, 9)
    np.testing.assert_array_equal(bank.pair_scores(queries, targets), scores[np.arange(9), targets])
    found, ids = bank.scored_band(queries, 0.0, 6.0, 60)
    np.testing.assert_array_equal(ids, bank.band(queries, 0.0, 6.0, 60))
    assert (ids >= 0).any()
    assert (ids < 0).any()
    np.testing.assert_array_equal(found, np.where(ids < 0, -np.inf, np.take_along_axis(scores, ids, 1)))


def test_empty_band_and_no_queries(rng):
    bank = lf.VectorBank(rng.standard_normal((10, 4)).astype(np.float32))
    queries = rng.standard_normal((6, 4)).astype(np.float32)
    assert (bank.band(queries, 0.5, 0.5, 3) == -1).all()
    assert bank.topk(queries[:0], 2)[1].shape == (0, 2)
    assert bank.rank(queries[:0], np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("scale", [1.0, 20.0, 1e-3])
def test_logsumexp(simd_level, rng, scale):
    vectors = rng.standard_normal((300, 65)).astype(np.float32)
    queries = rng.standard_normal((40, 65)).astype(np.float32)
    scores = fixed_order_scores(queries, vectors)
    sums, ids = lf.VectorBank(vectors).logsumexp(queries, scale)
    top = scores.max(axis=1, keepdims=True)
    expected = scale * top[:, 0] + np.log(np.exp(scale * (scores - top)).sum(axis=1))
    np.testing.assert_allclose(sums, expected, rtol=2e-6, atol=2e-6 * scale)
    np.testing.assert_array_equal(ids, scores.argmax(axis=1))


def test_refill_answers_as_a_new_bank(simd_level, rng):
    bank = lf.VectorBank(rng.standard_normal((200, 70)).astype(np.float32), normalize=True)
    queries = rng.standard_normal((40, 70)).astype(np.float32)
    for size in (50, 333):
        vectors = rng.standard_normal((size, 70)).astype(np.float32)
        bank.refill(vectors)
        assert len(bank) == size
        unit = [
            (a.astype(np.float64) * (1 / np.sqrt(np.diag(fixed_order_scores(a, a))))[:, None]).astype(np.float32)
            for a in (queries, vectors)
        ]
        check_everything(queries, vectors, fixed_order_scores(*unit), bank, rng)


def adversarial(rng, count, size, dim):
    """Scores of a query crowd around its target's, closer than any code can tell, from above and below."""
    queries = rng.standard_normal((count, dim))
    target = rng.standard_normal((count, dim))
    rows = [target[i % count] + 10.0 ** -rng.integers(2, 9) * rng.standard_normal(dim) for i in range(size - count)]
    return queries.astype(np.float32), np.concatenate([target, rows]).astype(np.float32)


@pytest.mark.parametrize("dim", [64, 100])
def test_scores_closer_than_the_codes_can_tell(simd_level, rng, dim):
    queries, vectors = adversarial(rng, 33, 700, dim)
    bank = lf.VectorBank(vectors)
    scores = fixed_order_scores(queries, vectors)
    check_everything(queries, vectors, scores, bank, rng)
    np.testing.assert_array_equal(bank.rank(queries, np.arange(33)), true_ranks(scores, np.arange(33)))


@pytest.mark.parametrize("kind", ["all identical", "duplicates", "clustered"])
def test_more_undecided_than_a_list_holds(simd_level, rng, kind):
    vectors = HARD_SETS[kind](rng, 2000, 20).astype(np.float32)
    queries = vectors[:40] + 0
    scores = fixed_order_scores(queries, vectors)
    bank = lf.VectorBank(vectors)
    for k in (1, 5):
        np.testing.assert_array_equal(bank.topk(queries, k)[1], best_first(scores)[:, :k])
    excluded = np.stack([best_first(scores)[:, 0], np.full(40, -1)], axis=1)
    got = bank.band(queries, -np.inf, np.inf, 5, exclude=excluded)
    np.testing.assert_array_equal(got, best_first(scores)[:, 1:6])


@pytest.mark.parametrize("kind", ["random", "sorted by score", "duplicates", "norms of all sizes"])
def test_lists_that_begin_with_a_sample(simd_level, rng, kind):
    """Many excluded ids, some repeated, and bands that the very best are above."""
    vectors = HARD_SETS.get(kind, lambda rng, size, dim: rng.standard_normal((size, dim)))(rng, 4001, 24)
    vectors = vectors.astype(np.float32)
    queries = rng.standard_normal((40, 24)).astype(np.float32)
    if kind == "sorted by score":
        vectors = vectors[np.argsort(vectors @ queries[0])]
    scores = fixed_order_scores(queries, vectors)
    order = best_first(scores)
    bank = lf.VectorBank(vectors)
    many = np.concatenate([queries] * 4)  # of a small bank, enough for panels of each thread's own
    for k in (1, 10, 60):
        np.testing.assert_array_equal(
            lf.VectorBank(vectors[:1500]).topk(many, k)[1][:40], best_first(scores[:, :1500])[:, :k]
        )
        np.testing.assert_array_equal(bank.topk(queries, k)[1], order[:, :k])
    excluded = np.concatenate([order[:, 20:32:2], order[:, 24:25], rng.integers(-1, 4001, (40, 9))], axis=1)
    high = float(np.quantile(scores, 0.995))
    got = bank.band(queries, 0.0, high, 8, exclude=excluded)
    for b in range(40):
        fit = [i for i in order[b] if 0 <= scores[b, i] < high and i not in excluded[b]]
        assert got[b].tolist() == (fit + [-1] * 8)[:8]


def test_memory_does_not_grow_with_queries_times_candidates(run_python):
    code = """
import resource, numpy as np, lvm_fast as lf
rng = np.random.default_rng(0)
vectors = rng.standard_normal((60_000, 16), dtype=np.float32)
bank, queries = lf.VectorBank(vectors), vectors[:4096]
bank.rank(queries[:1], [0])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KB
before = peak()
bank.rank(queries, np.arange(4096))  # 983 MB of float32 scores
bank.topk(queries, 10)
assert peak() - before < 64_000, peak() - before
"""
    assert run_python(code).returncode == 0


def test_codes_at_their_limits(simd_level):
    """The largest sums of 65,536 products that can occur, in both planes."""
    row = np.full(65536, 126.4999, np.float32)
    row[0] = 127
    vectors = np.stack([row, -row, row / 2])
    bank = lf.VectorBank(vectors)
    np.testing.assert_array_equal(bank.rank(vectors, [0, 1, 2]), [0, 0, 1])
    np.testing.assert_array_equal(bank.topk(vectors, 3)[1], [[0, 2, 1], [1, 2, 0], [0, 2, 1]])


def test_logsumexp_refuses_scores_that_overflow(simd_level):
    vectors = np.zeros((16, 4), np.float32)
    vectors[3] = [10, 10, 0, 0]
    queries = np.array([[3e38, -3e38, 0, 0]], np.float32)
    with pytest.raises(ValueError, match="logsumexp: queries: expected scores within float32's range"):
        lf.VectorBank(vectors).logsumexp(queries)


def test_several_threads_ask_one_bank(rng):
    vectors = rng.standard_normal((900, 40)).astype(np.float32)
    bank = lf.VectorBank(vectors)
    queries = [rng.standard_normal((50, 40)).astype(np.float32) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda q: bank.topk(q, 7)[1], queries))
    for ids, q in zip(found, queries, strict=True):
        np.testing.assert_array_equal(ids, best_first(fixed_order_scores(q, vectors))[:, :7])


def test_shards_merge_to_the_whole(rng):
    vectors = np.resize(rng.standard_normal((90, 24)), (300, 24)).astype(np.float32)  # with ties between the shards
    queries = rng.standard_normal((50, 24)).astype(np.float32)
    whole = lf.VectorBank(vectors)
    targets = rng.integers(0, 300, 50)
    asked = queries_of(queries, 24, "").rows
    wanted = whole._contents.pair_scores(asked, targets)
    total = 0
    for first in range(0, 300, 77):
        shard = lf.VectorBank(vectors[first : first + 77])
        total = total + shard._contents.rank(asked, wanted, targets, first, 300, Exclusions())
    np.testing.assert_array_equal(total, whole.rank(queries, targets))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [*DIMS, 64, 4096])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 63, 64, 65, 257])
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_every_combination_of_sizes_and_types(simd_level, rng, dim, size, kind):
    vectors = STORED[kind](rng.standard_normal((size, dim)).astype(np.float32))
    bank = lf.VectorBank(vectors)
    for count in (1, 4, 5, 6, 7, 12, 13):
        queries = rng.standard_normal((count, dim)).astype(np.float32)
        check_everything(queries, vectors, fixed_order_scores(queries, vectors), bank, rng)
