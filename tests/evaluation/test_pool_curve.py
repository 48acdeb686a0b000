from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lvm_fast.evaluation.pool_curve import RanksInPools, curve_sizes, expected_hits, hit_curve


def averaged_over_all_pools(scores, target, targets, size, k):
    """Rank the target in every pool that the sizes allow, one after the other."""
    if size <= targets:
        kept, optional, draws = [target], [i for i in range(targets) if i != target], size - 1
    else:
        kept, optional, draws = list(range(targets)), list(range(targets, len(scores))), size - targets
    hits = [sum(scores[i] > scores[target] for i in (*kept, *extra)) < k for extra in combinations(optional, draws)]
    return np.mean(hits)


@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("k", [1, 3])
def test_expected_hits_average_over_every_pool(size, k):
    targets, candidates = 5, 9
    scores = np.random.default_rng(size).random((targets, candidates))
    own = scores[np.arange(targets), np.arange(targets)][:, None]
    found = expected_hits(k, size, (scores[:, :targets] > own).sum(1), targets, (scores > own).sum(1), candidates)
    expected = [averaged_over_all_pools(scores[q], q, targets, size, k) for q in range(targets)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_whole_pools_give_plain_hits():
    inner, outer = np.array([0, 4, 5, 90]), np.array([3, 4, 6000, 70_000])
    assert expected_hits(5, 1149, inner, 1149, outer, 70_916).tolist() == [1, 1, 0, 0]
    assert expected_hits(5, 70_916, inner, 1149, outer, 70_916).tolist() == [1, 1, 0, 0]


def test_large_pools_stay_accurate():
    """One marked candidate among a million: the chance to draw it is the sampling fraction."""
    missed = 1 - expected_hits(1, 250_001, np.array([0]), 1, np.array([1]), 1_000_001)
    assert missed[0] == pytest.approx(0.25, rel=1e-7)


def test_the_curve_never_rises_and_ends_at_all_candidates():
    rng = np.random.default_rng(0)
    outer = {"model": np.sort(rng.integers(0, 400, 60))}
    inner = {"model": outer["model"] // 10}
    curve = hit_curve(RanksInPools(inner, 60), RanksInPools(outer, 700), np.arange(60) // 6, 100, 0)
    assert [point.pool for point in curve] == [10, 20, 50, 60, 115, 230, 500, 700]
    hits = [point.hits["model"] for point in curve]
    assert hits == sorted(hits, reverse=True)
    assert hits[-1] == np.mean(outer["model"] < 5)
    assert curve[3].hits["model"] == np.mean(inner["model"] < 5)
    for point in curve:
        low, high = point.intervals["model"]
        assert low <= point.hits["model"] <= high
        assert point.hits["chance"] == min(1, 5 / point.pool)
        assert point.production["hit@5"] == pytest.approx(point.hits["model"])
    assert curve[-1].production["hit@10"] == np.mean(outer["model"] < 10)
    assert curve[3].production["hit@10"] == np.mean(inner["model"] < 10)


def test_a_tiny_store_still_has_its_own_size():
    assert curve_sizes(3, 7) == [7]
