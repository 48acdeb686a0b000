from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.pools import Candidates, pool_of_bank
from lvm_fast.retrieval.bank import VectorBank


@pytest.fixture
def windows(store):
    return Windows(store, 10)


def brute_force_ranks(queries, candidates, targets):
    """float64 cosines one by one; equal scores go to the lower index."""
    ranks = []
    for query, target in zip(queries.astype(np.float64), targets, strict=True):
        rows = candidates.astype(np.float64)
        scores = rows @ query / np.linalg.norm(rows, axis=1)
        ahead = scores > scores[target]
        ahead[:target] |= scores[:target] == scores[target]
        ranks.append(ahead.sum())
    return np.array(ranks)


def rows_of(pool, candidates):
    """Which stored row each candidate is, read back from the bank by a self-match."""
    everything = np.concatenate([np.asarray(part, np.float32) for part in candidates.parts])
    places = VectorBank(everything, normalize=True).topk(everything, 1)[1][:, 0]
    assert places.tolist() == list(range(len(everything)))  # all rows differ
    return [row for row in range(len(everything)) if pool.bank.topk(everything[row : row + 1], 1)[0][0, 0] > 0.99999]


@pytest.mark.parametrize("kind", ["targets", "some", "more", "store", "store and distractors"])
def test_ranks_equal_brute_force(store, distractors, windows, kind):
    extra = distractors if "distractors" in kind or kind == "more" else None
    candidates = Candidates(windows, extra)
    pool = {
        "targets": candidates.targets,
        "some": lambda: candidates.sized(len(windows) - 9, seed=4),
        "more": lambda: candidates.sized(len(windows) + 150, seed=4),
    }.get(kind, candidates.all)()
    rng = np.random.default_rng(0)
    predictors = {name: rng.standard_normal((len(windows), store.dim)).astype(np.float32) for name in ("a", "b")}
    everything = np.concatenate([np.asarray(part, np.float32) for part in candidates.parts])
    rows = np.array(rows_of(pool, candidates))
    sizes = {"targets": len(windows), "some": len(windows) - 9, "more": len(windows) + 150}
    assert len(pool) == len(rows) == sizes.get(kind, len(everything))
    targets = np.searchsorted(rows, windows.targets[pool.queries])
    np.testing.assert_array_equal(rows[targets], windows.targets[pool.queries])  # every right answer is in the pool
    for name, ranks in pool.ranks(predictors).items():
        expected = brute_force_ranks(predictors[name][pool.queries], everything[rows], targets)
        np.testing.assert_array_equal(ranks, expected)


def test_a_small_pool_is_a_subset_of_queries_and_just_their_targets(windows):
    candidates = Candidates(windows)
    pool = candidates.sized(7, seed=1)
    assert len(pool) == len(pool.queries) == len(set(pool.queries)) == 7
    assert sorted(rows_of(pool, candidates)) == sorted(windows.targets[pool.queries])


def test_a_large_pool_keeps_all_targets_and_every_query(windows):
    candidates = Candidates(windows)
    pool = candidates.sized(len(windows) + 20, seed=1)
    rows = rows_of(pool, candidates)
    assert len(rows) == len(set(rows)) == len(windows) + 20
    assert set(windows.targets) < set(rows)
    assert len(pool.queries) == len(windows)


@pytest.mark.parametrize("size", [7, 120])
def test_the_seed_decides_the_pool(windows, size):
    candidates = Candidates(windows)
    same, again, other = (rows_of(candidates.sized(size, seed), candidates) for seed in (1, 1, 2))
    assert same == again
    assert same != other


def test_the_size_of_all_chunks_is_the_whole_store(store, windows):
    candidates = Candidates(windows)
    assert rows_of(candidates.sized(len(store.vectors), 3), candidates) == list(range(len(store.vectors)))
    for size in (0, -1, len(store.vectors) + 1):
        with pytest.raises(ValueError, match="evaluate: pool"):
            candidates.sized(size, 3)


def test_equal_scores_go_to_the_lower_row(windows, store):
    """An exact duplicate before the target is ahead of it, one after it is not, in every kind of pool."""
    vectors = np.asarray(store.vectors).copy()
    early, late = windows.targets[3], windows.targets[10]
    vectors[late] = vectors[early]
    twins = Windows(ChainStore(vectors, store.offsets), 10)
    asked = vectors[twins.targets]
    candidates = Candidates(twins)
    for pool in (candidates.targets(), candidates.sized(len(twins) + 9, 0), candidates.all()):
        ranks = pool.ranks({"model": asked})["model"]
        assert ranks[3] == 0
        assert ranks[10] == 1


def test_it_is_known_whether_the_current_chunk_is_a_candidate(store):
    apart, adjacent = Windows(store, 10, stride=2), Windows(store, 10, stride=1)
    assert Candidates(apart).targets().holds_current == 0.0
    assert 0.5 < Candidates(adjacent).targets().holds_current < 1.0
    assert Candidates(apart).all().holds_current == 1.0


def test_distractors_must_have_the_dimension_of_the_store(windows):
    other = ChainStore(np.ones((4, 3), np.float32), [0, 4])
    with pytest.raises(ValueError, match="distractors have 3 dimensions; expected 12"):
        Candidates(windows, other)


class TestGivenBank:
    def test_targets_are_looked_up(self, windows, store):
        order = np.random.default_rng(0).permutation(len(store.vectors))
        bank = VectorBank(np.asarray(store.vectors)[order], normalize=True)
        pool = pool_of_bank(windows, bank)
        np.testing.assert_array_equal(order[pool.targets], windows.targets)

    def test_ids_say_where_each_row_is(self, windows, store):
        rows = len(store.vectors)
        bank = VectorBank(np.concatenate([np.asarray(store.vectors)] * 2), normalize=True)
        pool = pool_of_bank(windows, bank, np.arange(rows) + rows)
        np.testing.assert_array_equal(pool.targets, windows.targets + rows)

    def test_a_missing_target_is_an_error(self, windows, store):
        bank = VectorBank(np.delete(np.asarray(store.vectors), windows.targets[4], axis=0), normalize=True)
        with pytest.raises(ValueError, match=f"the target at row {windows.targets[4]} .* and 0 more"):
            pool_of_bank(windows, bank)

    def test_another_dimension_is_an_error(self, windows):
        with pytest.raises(ValueError, match="pool has 5 dimensions; expected 12"):
            pool_of_bank(windows, VectorBank(np.ones((3, 5), np.float32)))

    @pytest.mark.parametrize("ids", [np.arange(3), np.full(233, 10_000), np.full(233, -1)])
    def test_ids_that_do_not_fit_are_an_error(self, windows, store, ids):
        assert len(store.vectors) == 233
        with pytest.raises(ValueError, match="pool_ids"):
            pool_of_bank(windows, VectorBank(np.asarray(store.vectors)), ids)
