from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.evaluation import intervals
from lvm_fast.evaluation.intervals import bootstrap_intervals


def slow_bootstrap(values, clusters, resamples, seed):
    """The textbook way: put the drawn chains' queries side by side and average them."""
    labels = sorted(set(clusters))
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        counts = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)))
        drawn = [values[clusters == label] for label, n in zip(labels, counts, strict=True) for _ in range(n)]
        means.append(np.concatenate(drawn).mean(axis=0))
    return np.percentile(means, [2.5, 97.5], axis=0)


@pytest.fixture
def graded():
    rng = np.random.default_rng(5)
    clusters = rng.choice([3, 8, 9, 20, 21], size=70)
    return rng.random((70, 3)) + clusters[:, None] / 30, clusters


def test_the_same_intervals_as_the_textbook_way(graded):
    values, clusters = graded
    np.testing.assert_allclose(
        bootstrap_intervals(values, clusters, 200, seed=9), slow_bootstrap(values, clusters, 200, seed=9), rtol=1e-12
    )


def test_blocks_of_resamples_change_nothing(graded, monkeypatch):
    whole = bootstrap_intervals(*graded, 200, seed=9)
    monkeypatch.setattr(intervals, "_BLOCK", 37)
    np.testing.assert_allclose(bootstrap_intervals(*graded, 200, seed=9), whole, rtol=1e-12)


def test_another_seed_gives_other_intervals_and_the_same_seed_the_same(graded):
    first, again, other = (bootstrap_intervals(*graded, 100, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_alike_queries_of_a_chain_do_not_narrow_the_interval():
    """Repeating every query of a chain must not look like more evidence."""
    rng = np.random.default_rng(0)
    chain_means = rng.random((12, 1))
    once = bootstrap_intervals(chain_means, np.arange(12), 500)
    many = bootstrap_intervals(np.repeat(chain_means, 50, axis=0), np.repeat(np.arange(12), 50), 500)
    np.testing.assert_allclose(once, many)


def test_the_interval_of_a_normal_mean_has_the_known_width():
    values = np.random.default_rng(3).standard_normal((400, 1))
    low, high = bootstrap_intervals(values, np.arange(400), 4000)[:, 0]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_one_cluster_gives_none():
    assert bootstrap_intervals(np.ones((5, 2)), np.zeros(5, int)) is None
