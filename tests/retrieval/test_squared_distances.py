"""Banks of squared Euclidean distances against a float64 oracle."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hard_vectors import DIMS, HARD_SETS, STORED
from oracles import check_everything, fixed_order_scores

import lvm_fast as lf


@pytest.mark.parametrize("dim", DIMS)
def test_random_vectors_of_awkward_sizes(simd_level, rng, dim):
    for count, size in ((1, 1), (7, 130), (40, 63)):
        queries, vectors = (rng.standard_normal((n, dim)).astype(np.float32) for n in (count, size))
        bank = lf.VectorBank(vectors, metric="l2")
        check_everything(queries, vectors, fixed_order_scores(queries, vectors, "l2"), bank, rng)


@pytest.mark.parametrize("kind", HARD_SETS)
@pytest.mark.parametrize("count", [2, 70])
def test_hard_sets(simd_level, rng, kind, count):
    vectors = HARD_SETS[kind](rng, 150, 40).astype(np.float32)
    queries = np.concatenate([vectors[: count // 2], rng.standard_normal((count - count // 2, 40)).astype(np.float32)])
    bank = lf.VectorBank(vectors, metric="l2")
    check_everything(queries, vectors, fixed_order_scores(queries, vectors, "l2"), bank, rng)


@pytest.mark.parametrize("kind", STORED)
def test_every_way_to_store_vectors(simd_level, rng, kind):
    vectors = STORED[kind](rng.standard_normal((140, 37)).astype(np.float32))
    queries = STORED[kind](rng.standard_normal((25, 37)).astype(np.float32))
    wide = [a.float().numpy() if hasattr(a, "float") else np.asarray(a, np.float32) for a in (queries, vectors)]
    bank = lf.VectorBank(vectors, metric="l2")
    check_everything(queries, vectors, fixed_order_scores(*wide, "l2"), bank, rng)


@pytest.mark.parametrize(("far", "near"), [(1e-20, 1), (1, 1e-20), (1e20, 1), (3e4, 1), (1, 3e4), (1e12, 1e-12)])
def test_queries_and_vectors_of_other_sizes(simd_level, rng, far, near):
    """The difference of large numbers decides, or the small ones vanish beside the large."""
    queries, vectors = (rng.standard_normal((n, 40)) for n in (50, 1100))
    queries, vectors = (far * queries).astype(np.float32), (near * vectors).astype(np.float32)
    bank = lf.VectorBank(vectors, metric="l2")
    check_everything(queries, vectors, fixed_order_scores(queries, vectors, "l2"), bank, rng)


def test_a_far_away_cloud(simd_level, rng):
    vectors = (1000 + rng.standard_normal((900, 33))).astype(np.float32)
    queries = vectors[:40] + np.float32(0.25)
    bank = lf.VectorBank(vectors, metric="l2")
    check_everything(queries, vectors, fixed_order_scores(queries, vectors, "l2"), bank, rng)


def test_same_answers_at_every_level_and_thread_count(rng, restore_threads):
    vectors = (3 + rng.standard_normal((4001, 96))).astype(np.float32)
    queries = vectors[:40] + rng.standard_normal((40, 96)).astype(np.float32) * 1e-3
    answers = []
    before = lf.kernels.simd_level()
    for level in lf.kernels.simd_levels():
        for threads in (1, 2, 4):
            lf.kernels.set_simd_level(level)
            lf.kernels.set_num_threads(threads)
            bank = lf.VectorBank(vectors, metric="l2")
            scores, ids = bank.topk(queries, 20)
            pairs = bank.pair_scores(queries, np.arange(40) + 7)
            ranks = bank.rank(queries, np.arange(40) + 7)
            answers.append((scores.tobytes(), ids.tobytes(), pairs.tobytes(), ranks.tobytes()))
    lf.kernels.set_simd_level(before)
    assert len(set(answers)) == 1


def test_lists_begin_with_the_nearest():
    bank = lf.VectorBank([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]], metric="l2")
    distances, ids = bank.topk([0.0, 0.0], 3)
    assert distances.tolist() == [0, 1, 25]
    assert ids.tolist() == [0, 2, 1]
    distances, ids = bank.topk([0.0, 0.0], 2, exclude=[0, 2])
    assert distances.tolist() == [25, np.inf]
    assert ids.tolist() == [1, -1]
    assert bank.rank([3.0, 3.0], 1) == 0
    assert bank.rank([0.0, 0.0], 1) == 2
    assert repr(bank) == 'VectorBank(3 x 2, metric="l2")'


def test_a_band_is_a_shell(simd_level):
    bank = lf.VectorBank(np.arange(9.0)[:, None], metric="l2")
    assert bank.band([0.0], 0, 9, 5).tolist() == [0, 1, 2, -1, -1]  # 9 itself is not in it
    assert bank.band([0.0], 9, 17, 5).tolist() == [3, 4, -1, -1, -1]
    assert bank.band([0.0], 0, np.inf, 2, below=1.0).tolist() == [0, -1]
    distances, ids = bank.scored_band([[0.0], [8.0]], -np.inf, np.inf, 9, below=[5.0, np.inf])
    assert ids.tolist() == [[0, 1, 2] + [-1] * 6, list(range(8, -1, -1))]
    assert distances.tolist() == [[0, 1, 4] + [np.inf] * 6, [float(i * i) for i in range(9)]]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_saved_opened_and_pickled(simd_level, rng, tmp_path, dtype):
    vectors, queries = (rng.standard_normal((n, 65)).astype(dtype) for n in (500, 20))
    made = lf.VectorBank(vectors, metric="l2")
    made.save(tmp_path / "bank.safetensors")
    opened = lf.VectorBank.open(tmp_path / "bank.safetensors")
    scores = fixed_order_scores(queries, vectors, "l2")
    for bank in (opened, pickle.loads(pickle.dumps(made)), pickle.loads(pickle.dumps(opened))):
        assert bank.metric == "l2"
        check_everything(queries, vectors, scores, bank, rng)
    made.refill(vectors[::2])
    check_everything(queries, vectors[::2], scores[:, ::2], made, rng)


def test_metrics_and_what_contradicts_them(rng):
    vectors = rng.standard_normal((20, 8)).astype(np.float32)
    assert lf.VectorBank(vectors).metric == "ip"
    cosines = lf.VectorBank(vectors, metric="cosine")
    assert cosines.normalize
    np.testing.assert_array_equal(
        cosines.topk(vectors, 3)[0], lf.VectorBank(vectors, normalize=True).topk(vectors, 3)[0]
    )
    with pytest.raises(ValueError, match=r"VectorBank: metric: expected one of ip, cosine, l2, got 'l1'"):
        lf.VectorBank(vectors, metric="l1")
    with pytest.raises(ValueError, match=r'VectorBank: normalize: expected False with metric="l2"'):
        lf.VectorBank(vectors, True, metric="l2")
    with pytest.raises(ValueError, match="logsumexp: expected a bank of inner products or cosines"):
        lf.VectorBank(vectors, metric="l2").logsumexp(vectors)
