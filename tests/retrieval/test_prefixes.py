"""Banks built for search, which look at prefixes in principal axes first, against the float64 oracle."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hard_vectors import HARD_SETS
from oracles import best_first, check_everything, check_filtered, fixed_order_scores

import lvm_fast as lf
from lvm_fast.data.vectors import Vectors
from lvm_fast.retrieval.prefixes import prefixes_of, principal_axes

ROWS, DIM = 4130, 130


def few_directions(rng, size, dim):
    """Vectors as encoders give them: a mean, and lengths that fall from direction to direction."""
    lengths = 1 / (1 + np.arange(dim)) ** 0.7
    lengths[0] *= 3
    turned = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return (1 + rng.standard_normal((size, dim)) * lengths) @ turned


def told_apart_by_tails(rng, size, dim):
    """All but 60 lie in few directions; of those, each is a little shorter or longer than one at the other end."""
    vectors = np.where(np.arange(dim) < 64, rng.standard_normal((size, dim)), 0)
    tails = np.where(np.arange(dim) < 64, 0, rng.standard_normal((30, dim)))
    vectors[:30], vectors[-30:] = 0.9 * tails, tails
    return vectors


SETS = {
    "told apart by tails": told_apart_by_tails,
    "few directions": few_directions,
    "no direction": lambda rng, size, dim: rng.standard_normal((size, dim)),
    "all in a prefix": lambda rng, size, dim: rng.standard_normal((size, 9)) @ rng.standard_normal((9, dim)),
    "all alike in a prefix": lambda rng, size, dim: np.where(
        np.arange(dim) < 66, 9, 0.1 * rng.standard_normal((size, dim))
    ),
    **{kind: HARD_SETS[kind] for kind in ("one ulp apart", "duplicates", "antipodal", "norms of all sizes", "sparse")},
    **{kind: HARD_SETS[kind] for kind in ("huge", "tiny", "zeros")},
}


def as_scored(x, metric):
    if metric != "cosine":
        return x
    lengths = np.sqrt(np.array([fixed_order_scores(row[None], row[None])[0, 0] for row in x]))
    return (x * (1 / lengths)[:, None]).astype(np.float32)


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("kind", SETS)
def test_lists_and_bands(simd_level, rng, kind, metric):
    if metric == "cosine" and kind in ("zeros", "sparse"):
        pytest.skip("zero rows have no direction")
    vectors = SETS[kind](rng, ROWS, DIM).astype(np.float32)
    more = vectors[-10:] if kind == "told apart by tails" else SETS[kind](rng, 10, DIM).astype(np.float32)
    queries = np.concatenate([vectors[::400], more])
    bank = lf.VectorBank(vectors, metric=metric, build="search")
    assert bank._contents.segments[0].axes is not None
    scores = fixed_order_scores(as_scored(queries, metric), as_scored(vectors, metric), metric)
    order = best_first(scores)
    for k in (1, 10):
        np.testing.assert_array_equal(bank.topk(queries, k)[1], order[:, :k])
    check_filtered(queries, scores, bank, rng)


@pytest.mark.parametrize("threads", [1, 3])
def test_everything_of_encoder_like_vectors(simd_level, rng, restore_threads, threads):
    lf.kernels.set_num_threads(threads)
    vectors = few_directions(rng, 4500, 260).astype(np.float16)
    queries = few_directions(rng, 70, 260).astype(np.float32)
    bank = lf.VectorBank(vectors, build="search")
    check_everything(queries, vectors, fixed_order_scores(queries, vectors), bank, rng)


def test_prefixes_spare_most_of_the_work(rng):
    vectors, queries = (few_directions(rng, n, 256).astype(np.float32) for n in (8000, 64))
    bank = lf.VectorBank(vectors, metric="cosine", build="search")
    bank.topk(queries, 5)
    screened, left, _ = bank._contents.take_tally()
    assert screened >= 64 * 8000
    assert 0 < left < 0.1 * screened


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_a_score_differs_by_no_more_than_the_tails_allow(rng, metric):
    vectors = few_directions(rng, 4200, 200).astype(np.float32) * 10.0 ** rng.integers(-9, 9, (4200, 1))
    vectors = vectors.astype(np.float32)
    axes = principal_axes(Vectors.of(vectors), metric)
    assert axes is not None
    np.testing.assert_allclose(axes @ axes.T, np.eye(64), atol=1e-12)
    queries, scored = vectors[:50], as_scored(vectors, metric)
    q, c = prefixes_of(queries, axes, metric), prefixes_of(vectors, axes, metric)
    products = q.rows.astype(np.float64) @ c.rows.T.astype(np.float64)
    apart = np.abs(fixed_order_scores(as_scored(queries, metric), scored) - products)
    assert (apart <= np.outer(q.tails, c.tails)).all()


def test_where_prefixes_do_not_pay_there_are_none(rng):
    for rows, dim in ((4095, 200), (5000, 127)):
        bank = lf.VectorBank(rng.standard_normal((rows, dim)).astype(np.float32), build="search")
        assert bank._contents.segments[0].axes is None
        assert bank.build == "search"
    with pytest.raises(ValueError, match="VectorBank: build: expected one of fast, search, got 'best'"):
        lf.VectorBank(np.eye(3), build="best")


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_saved_copied_and_changed(rng, tmp_path, metric):
    vectors, queries = (few_directions(rng, n, 140).astype(np.float32) for n in (4600, 20))
    bank = lf.VectorBank(vectors[:4300], metric=metric, build="search")
    bank.save(tmp_path / "bank.safetensors")
    opened = lf.VectorBank.open(tmp_path / "bank.safetensors")
    scores = fixed_order_scores(as_scored(queries, metric), as_scored(vectors, metric), metric)
    order = best_first(scores[:, :4300])
    for made in (opened, pickle.loads(pickle.dumps(bank)), pickle.loads(pickle.dumps(opened)), copy.deepcopy(bank)):
        assert (made.build, made.metric) == ("search", metric)
        np.testing.assert_array_equal(made._contents.segments[0].axes, bank._contents.segments[0].axes)
        np.testing.assert_array_equal(made.topk(queries, 9)[1], order[:, :9])
    for made in (bank, opened):
        made.append(vectors[4300:])
        made.remove(np.arange(0, 4600, 5))
        left = made.ids
        np.testing.assert_array_equal(made.topk(queries, 9)[1], left[best_first(scores[:, left])][:, :9])
    bank.save(tmp_path / "left.safetensors")
    again = lf.VectorBank.open(tmp_path / "left.safetensors")
    np.testing.assert_array_equal(left[again.topk(queries, 9)[1]], bank.topk(queries, 9)[1])
    bank.refill(vectors[::-1])
    np.testing.assert_array_equal(bank.topk(queries, 9)[1], best_first(scores[:, ::-1])[:, :9])


def test_bad_queries_are_refused_as_ever(rng):
    vectors = few_directions(rng, 4200, 140).astype(np.float32)
    bank = lf.VectorBank(vectors, metric="cosine", build="search")
    queries = vectors[:3].copy()
    queries[1] = 0
    with pytest.raises(ValueError, match=r"VectorBank\.topk: queries: row 1 is all zeros"):
        bank.topk(queries, 3)
    queries[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"VectorBank\.topk: queries: row 1 holds NaN"):
        bank.topk(queries, 3)
    assert bank.topk(queries[:0], 3)[1].shape == (0, 3)
    assert bank.topk(vectors[7], 1)[1] == 7
