from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import ENOUGH, Windows, query_windows
from lvm_fast.evaluation.metrics import small_sample_notes


def chains(lengths):
    return ChainStore(np.ones((sum(lengths), 2), np.float32), np.concatenate([[0], np.cumsum(lengths)]))


@pytest.mark.parametrize(
    ("lengths", "context", "stride"),
    [
        ([1000] * 50, 100, 50),  # enough at half the context
        ([100] * 300, 100, 50),  # a question a chain
        ([100] * 42, 100, 23),
        ([60] * 3, 100, 2),  # never enough
        ([60] * 3, 3, 1),
        ([60] * 3, 1, 1),
        ([5] * 3 + [2000], 4000, 10),
        ([3000], 2**52, 15),
    ],
)
def test_the_stride_is_the_longest_with_enough_questions(lengths, context, stride):
    store = chains(lengths)
    windows = query_windows(store, context)
    assert windows.stride == stride
    half = max(1, context // 2)
    assert stride == half or len(Windows(store, context, stride + 1)) < ENOUGH
    assert len(windows) >= ENOUGH or stride <= 2


def test_a_stride_that_is_given_stays():
    store = chains([60] * 3)
    given = query_windows(store, 20, 10, 4)
    np.testing.assert_array_equal(given.targets, Windows(store, 20, 10, 4).targets)


def test_no_target_is_the_chunk_before_another():
    windows = query_windows(chains([60] * 3), 20)
    assert not np.isin(windows.targets - 1, windows.targets).any()


def test_chains_that_are_too_short_are_an_error():
    with pytest.raises(ValueError, match="no window: the longest chain has 5 rows"):
        query_windows(chains([5, 4]), 10)


@pytest.mark.parametrize(
    ("questions", "pool", "ks", "notes"),
    [
        (100, 6, (1, 5), []),
        (99, 6, (5,), ["Only 99 questions: a single answer moves a Hit@K by 1 points."]),
        (1, 20, (5,), ["Only 1 question: a single answer moves a Hit@K by 100 points."]),
        (200, 5, (1, 5, 10), ["In a pool of 5 every prediction reaches Hit@5 and Hit@10: that says nothing."]),
        (200, 1, (1,), ["In a pool of 1 every prediction reaches Hit@1: that says nothing."]),
    ],
)
def test_what_rests_on_little_is_told(questions, pool, ks, notes):
    assert small_sample_notes(questions, pool, ks) == notes
