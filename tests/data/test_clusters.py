"""Spherical k-means against every way to deal the points out, and the directions of chains."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.clusters import chain_means, spherical_kmeans


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fit(points, labels, count):
    """Sum of the cosines with the directions of the clusters, the lengths of their sums; labels (..., N) -> (...)."""
    members = (labels[..., None, :] == np.arange(count)[:, None]).astype(np.float64)  # (..., K, N)
    return np.linalg.norm(members @ points.astype(np.float64), axis=-1).sum(axis=-1)


@pytest.mark.parametrize(("size", "count"), [(9, 2), (9, 3), (6, 4), (5, 5), (4, 1)])
def test_it_finds_the_best_of_all_ways_to_deal_points_out(rng, size, count):
    for _ in range(3):
        points = unit(rng.standard_normal((size, 3)) + 1.0)
        labels = spherical_kmeans(points, count, seed=7)
        ways = np.array(list(product(range(count), repeat=size)))
        assert fit(points, labels, count) == pytest.approx(fit(points, ways, count).max(), rel=1e-9)
        assert set(labels) == set(range(count))


def test_no_point_is_nearer_to_another_cluster(rng):
    points = unit(rng.standard_normal((300, 20)))
    labels = spherical_kmeans(points, 16, seed=1)
    directions = unit(np.stack([points[labels == cluster].sum(axis=0) for cluster in range(16)]))
    np.testing.assert_array_equal(labels, (points @ directions.T).argmax(axis=1))


def test_clusters_that_are_there_are_found(rng):
    truth = rng.integers(0, 16, 200)
    points = unit(5 * np.eye(32)[truth] + 0.3 * rng.standard_normal((200, 32)))
    labels = spherical_kmeans(points, 16, seed=3)
    assert len(set(zip(truth.tolist(), labels.tolist(), strict=True))) == len(set(truth.tolist())) == 16


def test_the_seed_decides(rng):
    points = unit(rng.standard_normal((80, 8)))
    first, again, other = (spherical_kmeans(points, 9, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_copies_leave_no_error(rng):
    points = np.repeat(unit(rng.standard_normal((3, 8))), 5, axis=0)
    labels = spherical_kmeans(points, 6, seed=0)
    assert labels.shape == (15,)
    assert fit(points, labels, 6) == pytest.approx(15.0)


def test_the_direction_of_a_chain_is_the_mean_of_its_unit_vectors(rng):
    rows = rng.standard_normal((10, 6)).astype(np.float32)
    store = ChainStore(rows, [0, 4, 4, 5, 10])
    means = chain_means(store)
    for chain, (first, last) in enumerate([(0, 4), (4, 5), (5, 10)]):
        expected = unit(rows[first:last]).astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(means[[0, 2, 3][chain]], expected / np.linalg.norm(expected), atol=1e-6)
    assert not means[1].any()
