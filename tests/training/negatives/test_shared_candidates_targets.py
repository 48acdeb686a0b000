"""The candidates of a step: its targets, the queue, and a random sample, each chunk once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from literal_models import SMALL

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.models.registry import create_model
from lvm_fast.ops.rowwise import l2_normalize
from lvm_fast.training.learner import Learner
from lvm_fast.training.negatives.memory_queue import MemoryQueue
from lvm_fast.training.negatives.random_chunks import RandomChunks
from lvm_fast.training.negatives.shared_candidates import shared_candidates
from lvm_fast.training.recipe import Recipe


def made(**settings):
    recipe = Recipe(**{"infonce_batch": "effective", **settings})
    return shared_candidates(recipe, torch.device("cpu"), torch.float32)


@pytest.fixture
def copied(rng):
    """40 rows of 6 numbers of any length; rows 20 to 39 repeat row 3."""
    rows = rng.standard_normal((40, 6)).astype(np.float32)
    rows[20:] = rows[3] * rng.uniform(0.5, 2, (20, 1))
    return ChainStore(rows, [0, 15, 40])


def rows_of(store, shared, targets):
    """Which rows the candidates of a step are; rows below 20 only, which are all different."""
    shared.begin(store, np.array(targets))
    wanted = l2_normalize(torch.from_numpy(store.vectors[targets]))
    vectors, masked = shared.for_targets(np.array(targets), wanted)
    everything = l2_normalize(torch.from_numpy(store.vectors[:20]))
    rows = (vectors @ everything.T).argmax(dim=1).tolist()
    assert sorted((r, rows[c]) for r, c in masked.T.tolist()) == [(at, row) for at, row in enumerate(targets)]
    return rows


@pytest.mark.parametrize(
    ("changes", "shares"),
    [({"infonce_batch": "micro"}, False), ({}, True), ({"alpha_infonce": 0.0}, False)],
)
def test_only_a_step_with_infonce_beyond_micro_batches_shares_candidates(copied, changes, shares):
    model = create_model("gru", **SMALL["gru"])
    negatives = Learner(model, Recipe(**{"infonce_batch": "effective", **changes}), torch.device("cpu")).negatives
    targets = np.array([7, 3])
    negatives.begin(copied, targets)
    found = negatives.for_targets(targets, torch.from_numpy(copied.vectors[targets]))
    assert (found is not None) is shares


def test_the_targets_of_a_step_count_once_each_and_never_for_their_near_copies(copied):
    shared = made()
    shared.begin(copied, np.array([7, 3, 22, 7]))
    vectors, masked = shared.for_targets(np.array([22, 7]), l2_normalize(torch.from_numpy(copied.vectors[[22, 7]])))
    torch.testing.assert_close(vectors, l2_normalize(torch.from_numpy(copied.vectors[[3, 7, 22]])))
    assert sorted(map(tuple, masked.T.tolist())) == [(0, 0), (0, 2), (1, 1)]


def test_the_queue_holds_the_latest_targets_and_not_yet_those_of_the_step(copied):
    shared = made(infonce_queue=4)
    seen = []
    for targets in ([5, 1], [9, 2], [5, 11], [0, 3]):
        seen.append(rows_of(copied, shared, targets))
        shared.end(np.array(targets))
    assert seen == [[1, 5], [1, 2, 5, 9], [1, 2, 5, 9, 11], [0, 2, 3, 5, 9, 11]]
    assert shared.state()["infonce_queue"].tolist() == [5, 11, 0, 3]


def test_a_step_that_failed_leaves_the_queue_as_it_was(copied):
    shared = made(infonce_queue=4)
    assert rows_of(copied, shared, [5, 1]) == [1, 5]
    assert rows_of(copied, shared, [8]) == [8]


def test_a_sample_is_another_each_step_without_repeats_and_the_same_by_seed(copied):
    draws = []
    for seed in (1, 1, 2):
        sample = RandomChunks(12, seed)
        for _ in range(3):
            draws.append(sample.rows(40).tolist())
            sample.end(np.arange(3))
    assert all(len(set(draw)) == 12 and min(draw) >= 0 and max(draw) < 40 for draw in draws)
    assert draws[:3] == draws[3:6]
    assert len({tuple(draw) for draw in draws}) == 6
    assert sorted(RandomChunks(1000, 1).rows(40).tolist()) == list(range(40))


def test_a_sample_joins_the_targets(copied):
    store = ChainStore(copied.vectors[:20], [0, 20])
    shared = made(infonce_candidates=6, seed=3)
    drawn = RandomChunks(6, 3).rows(20).tolist()
    assert rows_of(store, shared, [5, 1]) == sorted({5, 1, *drawn})


def test_a_checkpoint_goes_on_where_it_was(copied):
    store = ChainStore(copied.vectors[:20], [0, 20])
    settings = {"infonce_queue": 3, "infonce_candidates": 4}
    whole, seen = made(**settings), []
    for targets in ([5, 1], [9, 2], [5, 11]):
        seen.append(rows_of(store, whole, targets))
        whole.end(np.array(targets))
        if len(seen) == 2:
            kept = whole.state()
    again = made(**settings)
    again.load_state(kept)
    assert rows_of(store, again, [5, 11]) == seen[2]


def test_a_queue_larger_than_what_came_holds_all_of_it():
    queue = MemoryQueue(100, 0)
    queue.end(np.arange(3))
    queue.end(np.arange(5, 7))
    assert queue.rows(10).tolist() == [0, 1, 2, 5, 6]
