"""`adapters.faiss.IndexFlat` beside FAISS's own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from oracles import best_first, fixed_order_scores

from lvm_fast.adapters.faiss import METRIC_INNER_PRODUCT, METRIC_L2, IndexFlat, IndexFlatIP, IndexFlatL2

if sys.platform == "darwin":
    pytest.skip("FAISS brings an OpenMP that aborts beside torch's", allow_module_level=True)
faiss = pytest.importorskip("faiss")
METRICS = {"ip": METRIC_INNER_PRODUCT, "l2": METRIC_L2}


@pytest.fixture
def rows(rng):
    """Whole numbers: both sum them exactly."""
    return rng.integers(-9, 10, (200, 24)).astype(np.float32)


@pytest.fixture(params=METRICS)
def both(request, rows):
    """Our index and FAISS's, with the same rows, added in three calls."""
    pair = IndexFlat(24, METRICS[request.param]), faiss.IndexFlat(24, METRICS[request.param])
    for index in pair:
        for part in (rows[:90], rows[90:91], rows[91:]):
            index.add(part)
    return pair


def test_the_metrics_are_those_of_faiss():
    assert (METRIC_INNER_PRODUCT, METRIC_L2) == (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2)
    for ours, theirs in ((IndexFlat(3), faiss.IndexFlat(3)), (IndexFlatIP(3), faiss.IndexFlatIP(3))):
        assert (ours.d, ours.metric_type, ours.ntotal, ours.is_trained) == (3, theirs.metric_type, 0, True)
    assert IndexFlatL2(3).metric_type == faiss.IndexFlatL2(3).metric_type


@pytest.mark.parametrize("k", [1, 7, 200, 203])
def test_search(both, rows, k):
    ours, theirs = both
    (distances, ids), (expected, expected_ids) = (index.search(rows[:30] + 1, k) for index in both)
    assert (ours.ntotal, theirs.ntotal) == (200, 200)
    assert (distances.dtype, ids.dtype, distances.shape) == (np.float32, np.int64, (30, k))
    np.testing.assert_array_equal(distances, expected)
    np.testing.assert_array_equal(ids[:, 200:], expected_ids[:, 200:])
    metric = "ip" if ours.metric_type == METRIC_INNER_PRODUCT else "l2"
    best = best_first(fixed_order_scores(rows[:30] + 1, rows, metric))[:, :k]  # FAISS names any of equal ones
    np.testing.assert_array_equal(ids[:, :200], best)


def test_search_of_real_numbers(rng):
    rows, asked = (rng.standard_normal((n, 40)).astype(np.float32) for n in (500, 20))
    for metric in METRICS.values():
        ours, theirs = IndexFlat(40, metric), faiss.IndexFlat(40, metric)
        for index in (ours, theirs):
            index.add(rows)
        (distances, ids), (expected, expected_ids) = (index.search(asked, 10) for index in (ours, theirs))
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_allclose(distances, expected, rtol=1e-4)


@pytest.mark.parametrize("threshold", [-1e9, 0, 100, 700, 1500, 1e9])
def test_range_search(both, rows, threshold):
    (lims, distances, ids), theirs = (index.range_search(rows[:30] + 1, threshold) for index in both)
    assert [lims.dtype, distances.dtype, ids.dtype] == [part.dtype for part in theirs]
    np.testing.assert_array_equal(lims, theirs[0])
    for begin, end in zip(lims[:-1].tolist(), lims[1:].tolist(), strict=True):
        order, expected = np.argsort(ids[begin:end]), np.argsort(theirs[2][begin:end])
        np.testing.assert_array_equal(ids[begin:end][order], theirs[2][begin:end][expected])
        np.testing.assert_array_equal(distances[begin:end][order], theirs[1][begin:end][expected])


def test_reconstruct_and_reset(both, rows):
    ours, theirs = both
    np.testing.assert_array_equal(ours.reconstruct(95), theirs.reconstruct(95))
    np.testing.assert_array_equal(ours.reconstruct_n(85, 20), theirs.reconstruct_n(85, 20))
    np.testing.assert_array_equal(ours.reconstruct_n(), rows)
    for index in both:
        index.reset()
        assert index.ntotal == 0
    found = [index.search(rows[:2], 3) for index in both]
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert [part.tolist() for part in ours.range_search(rows[:2], 0.0)] == [[0, 0, 0], [], []]
    assert ours.reconstruct_n().shape == (0, 24)


def test_rows_are_copied_and_of_any_dtype(rows):
    index = IndexFlatIP(24)
    held = rows.astype(np.float64)
    index.add(held)
    index.add(rows[:0])
    single = rows.copy()
    index.add(single)
    held[:], single[:] = 0, 0
    np.testing.assert_array_equal(index.reconstruct_n(), np.concatenate([rows, rows]))
    assert index.search(rows[:5].astype(np.float16), 1)[1].tolist() == index.search(rows[:5], 1)[1].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: IndexFlat(0), "IndexFlat: d: expected a whole number of at least 1, got 0"),
        (lambda: IndexFlat(3, 2), r"IndexFlat: metric: expected METRIC_INNER_PRODUCT \(0\) or METRIC_L2 \(1\), got 2"),
        (lambda: IndexFlat(3).add(np.ones((2, 4))), "IndexFlat.add: x: expected 3 columns"),
        (lambda: IndexFlat(3).add([[1, 2, np.nan]]), "row 0 holds NaN"),
        (lambda: IndexFlat(3).search([1, 2, 3], 1), r"IndexFlat.search: x: expected shape \(n, 3\), got \(3,\)"),
        (lambda: IndexFlat(3).search([[1, 2, 3]], 0), "IndexFlat.search: k: expected a whole number of at least 1"),
        (lambda: IndexFlat(3).range_search([[1, 2, 3]], np.nan), "IndexFlat.range_search: thresh: expected a finite"),
        (lambda: IndexFlat(3).reconstruct(0), "IndexFlat.reconstruct"),
        (lambda: IndexFlat(3, device="tpu").add([[1, 2, 3]]), "device = 'tpu'; expected one of"),
    ],
)
def test_mistakes_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_bad_row_adds_none(rows):
    index = IndexFlatL2(24)
    index.add(rows)
    with pytest.raises(ValueError, match="row 1 holds NaN"):
        index.add(np.stack([rows[0], rows[0] * np.nan]))
    assert index.ntotal == 200
