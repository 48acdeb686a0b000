"""`adapters.sklearn.ExactNeighbors` beside scikit-learn's brute force."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

neighbors = pytest.importorskip("sklearn.neighbors")
checks = pytest.importorskip("sklearn.utils.estimator_checks")
ExactNeighbors = pytest.importorskip("lvm_fast.adapters.sklearn").ExactNeighbors
METRICS = ["euclidean", "cosine"]


@checks.parametrize_with_checks([ExactNeighbors()])  # of cosines one asks for a zero row
def test_the_estimator_checks_of_sklearn(estimator, check):
    check(estimator)


@pytest.fixture(params=METRICS)
def both(request, rng):
    rows = rng.standard_normal((150, 12)).astype(np.float32)
    ours = ExactNeighbors(n_neighbors=4, radius=3.0, metric=request.param).fit(rows)
    theirs = neighbors.NearestNeighbors(n_neighbors=4, radius=3.0, metric=request.param, algorithm="brute").fit(rows)
    return ours, theirs


@pytest.mark.parametrize("asked", ["themselves", "others"])
@pytest.mark.parametrize("count", [None, 1, 149])
def test_kneighbors(both, rng, asked, count):
    queries = None if asked == "themselves" else rng.standard_normal((20, 12)).astype(np.float32)
    (distances, indices), (expected, expected_indices) = (each.kneighbors(queries, count) for each in both)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected, atol=1e-5)
    np.testing.assert_array_equal(both[0].kneighbors(queries, count, return_distance=False), indices)
    if asked == "themselves":
        assert not (indices == np.arange(150)[:, None]).any()


@pytest.mark.parametrize("asked", ["themselves", "others"])
@pytest.mark.parametrize("radius", [None, 0.0, 0.4, 1.3, 30.0])
def test_radius_neighbors(both, rng, asked, radius):
    queries = None if asked == "themselves" else rng.standard_normal((20, 12)).astype(np.float32)
    distances, indices = both[0].radius_neighbors(queries, radius)
    expected, expected_indices = both[1].radius_neighbors(queries, radius, sort_results=True)
    assert (distances.dtype, indices.dtype, distances.shape) == (object, object, expected.shape)
    for b in range(len(indices)):
        np.testing.assert_array_equal(indices[b], expected_indices[b])
        np.testing.assert_allclose(distances[b], expected[b], atol=1e-5)
    alone = both[0].radius_neighbors(queries, radius, return_distance=False)
    assert [one.tolist() for one in alone] == [one.tolist() for one in indices]


def test_the_radius_is_included_and_distances_are_exact():
    rows = np.array([[3.0, 4.0], [5.0, 0.0], [0.0, 5.0000005], [3.0, 4.0]])
    near = ExactNeighbors().fit(rows)
    distances, indices = near.radius_neighbors([[0.0, 0.0]], 5.0)
    assert (indices[0].tolist(), distances[0].tolist()) == ([0, 1, 3], [5.0, 5.0, 5.0])
    assert near.kneighbors([[0.0, 0.0]], 2, return_distance=False).tolist() == [[0, 1]]
    assert near.kneighbors(n_neighbors=1, return_distance=False).tolist() == [[3], [0], [0], [0]]


def test_what_was_fitted_is_a_copy_and_is_pickled(rng):
    rows = rng.standard_normal((30, 5)).astype(np.float32)
    near = ExactNeighbors(n_neighbors=1).fit(rows)
    asked, expected = rows[7:8].copy(), near.kneighbors(rows[7:8], return_distance=False)
    rows[:] = 0
    for each in (near, pickle.loads(pickle.dumps(near))):
        assert each.kneighbors(asked, return_distance=False).tolist() == expected.tolist() == [[7]]
        assert (each.n_samples_fit_, each.n_features_in_) == (30, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda near: near.kneighbors(n_neighbors=3), "n_neighbors: expected a whole number from 1 to 2, got 3"),
        (lambda near: near.kneighbors([[1, 2]], 4), "n_neighbors: expected a whole number from 1 to 3, got 4"),
        (lambda near: near.radius_neighbors(radius=-1), "radius: expected a finite number of at least 0, got -1"),
        (lambda near: near.set_params(metric="l1").fit([[1.0]]), "metric: expected one of euclidean, cosine, got 'l1'"),
        (lambda near: near.set_params(metric="cosine").fit([[0.0, 0.0]]), "row 0 is all zeros"),
    ],
)
def test_mistakes_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(ExactNeighbors().fit([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
