"""Filters: what a question must not find, against the whole score matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import best_first, check_filtered, fixed_order_scores

import lvm_fast as lf
from lvm_fast.retrieval.filters import bits_from

GOOD = np.ones((4, 3), np.float32)


@pytest.mark.parametrize("size", [31, 32, 33, 1100, 4001])  # one panel's masks; a small scan; a sampled one
@pytest.mark.parametrize("threads", [1, 3])
def test_random_filters(simd_level, rng, restore_threads, size, threads):
    lf.kernels.set_num_threads(threads)
    vectors = np.resize(rng.standard_normal((3 * size // 4, 40)), (size, 40)).astype(np.float32)  # with ties
    queries = rng.standard_normal((70, 40)).astype(np.float32)
    scores, bank = fixed_order_scores(queries, vectors), lf.VectorBank(vectors)
    for _ in range(3):
        check_filtered(queries, scores, bank, rng)


def test_the_same_filter_in_every_form(simd_level, rng):
    vectors, queries = (rng.standard_normal((n, 24)).astype(np.float32) for n in (101, 5))
    bank = lf.VectorBank(vectors)
    mask = np.ones(101, bool)
    mask[17:53] = mask[[3, 99]] = False
    forms = [
        {"allow": mask},
        {"allow": torch.from_numpy(mask)},
        {"allow": np.packbits(mask)},
        {"allow": np.tile(mask, (5, 1))},
        {"allow": np.packbits(np.tile(mask, (5, 1)), axis=-1)},
        {"exclude": np.tile(np.flatnonzero(~mask), (5, 1))},
        {"exclude_ranges": np.tile([[17, 53], [3, 4], [99, 100], [60, 60]], (5, 1, 1))},
        {"exclude_ranges": np.tile([[17, 40], [30, 53]], (5, 1, 1)), "exclude": np.tile([3, 99, -1, 3], (5, 1))},
    ]
    order = best_first(fixed_order_scores(queries, vectors))
    expected = [[i for i in row if mask[i]] for row in order]
    for form in forms:
        np.testing.assert_array_equal(bank.topk(queries, 63, **form)[1], expected)
    alone = {"exclude_ranges": [[17, 53]], "exclude": [3, 99], "allow": mask}
    np.testing.assert_array_equal(bank.topk(queries[2], 63, **alone)[1], expected[2])


def test_fewer_left_than_asked_for(simd_level, rng):
    vectors, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (300, 3))
    bank = lf.VectorBank(vectors)
    scores, ids = bank.topk(queries, 4, exclude_ranges=np.tile([[0, 124], [125, 300]], (3, 1, 1)))
    assert (ids == [124, -1, -1, -1]).all()
    assert np.isneginf(scores[:, 1:]).all()
    np.testing.assert_array_equal(scores[:, 0], bank.pair_scores(queries, [124] * 3).astype(np.float32))
    assert (bank.topk(queries, 2, allow=np.zeros(300, bool))[1] == -1).all()
    assert (bank.rank(queries, [5, 6, 7], allow=np.zeros(300, bool)) == 0).all()


def test_a_target_that_is_left_out_is_ranked_among_the_others(simd_level, rng):
    vectors, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (90, 20))
    bank, targets = lf.VectorBank(vectors), np.arange(20)
    ranks = bank.rank(queries, targets)
    np.testing.assert_array_equal(bank.rank(queries, targets, exclude=targets[:, None]), ranks)
    best = bank.topk(queries, 1)[1]
    expected = ranks - (best[:, 0] != targets)
    np.testing.assert_array_equal(bank.rank(queries, targets, exclude=best), expected)
    hits = lf.hit_at_k(queries, targets, (1, 5), bank, exclude=best)
    assert hits["hit@1"] == (expected < 1).mean()
    assert hits["hit@5"] == (expected < 5).mean()
    assert hits["mrr"] == (1 / (expected + 1)).mean()


@pytest.mark.parametrize("first", [0, 1, 7, 8, 33])
def test_bits_of_a_part(rng, first):
    mask = rng.random((3, 77)) < 0.5
    for size in (1, 9, 77 - first):
        part = bits_from(np.packbits(mask, axis=-1), first, size)
        np.testing.assert_array_equal(np.unpackbits(part, axis=-1, count=size), mask[:, first : first + size])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"exclude": [[4]] * 4}, r"exclude: expected ids in \[0, 4\) or -1, got others"),
        ({"exclude": [1, 2]}, r"exclude: expected shape \(4, E\), got \(2,\)"),
        ({"exclude_ranges": [[0, 2]] * 4}, r"exclude_ranges: expected shape \(4, R, 2\), got \(4, 2\)"),
        ({"exclude_ranges": [[[0, 2, 3]]] * 4}, r"exclude_ranges: expected pairs .*, got \(4, 1, 3\)"),
        ({"exclude_ranges": [[[2, 1]]] * 4}, r"exclude_ranges: expected 0 <= first <= end <= 4"),
        ({"exclude_ranges": [[[0, 5]]] * 4}, r"exclude_ranges: expected 0 <= first <= end <= 4"),
        ({"exclude_ranges": [[[-1, 2]]] * 4}, r"exclude_ranges: expected 0 <= first <= end <= 4"),
        ({"exclude_ranges": [[[0.5, 2]]] * 4}, r"exclude_ranges: expected whole-number ids, got float64"),
        ({"allow": np.ones(5, bool)}, r"allow: expected truth values \(4,\) or their numpy.packbits \(1,\)"),
        ({"allow": np.ones(4, np.uint8)}, r"allow: expected truth values .*, got uint8 of shape \(4,\)"),
        ({"allow": np.ones(4, np.float32)}, r"allow: expected truth values .*, got float32"),
        ({"allow": np.ones((3, 4), bool)}, r"allow: expected .*, \(4, 4\) or \(4, 1\), got bool of shape \(3, 4\)"),
    ],
)
def test_bad_filters_say_what_was_expected(filters, message):
    bank = lf.VectorBank(GOOD)
    for where, call in {
        "VectorBank.rank": lambda: bank.rank(GOOD, [0] * 4, **filters),
        "VectorBank.topk": lambda: bank.topk(GOOD, 1, **filters),
        "VectorBank.band": lambda: bank.band(GOOD, 0, 1, 1, **filters),
        "hit_at_k": lambda: lf.hit_at_k(GOOD, [0] * 4, bank=bank, **filters),
    }.items():
        with pytest.raises(ValueError, match=f"{where}: {message}"):
            call()


def test_memory_beyond_the_filter_does_not_grow(run_python):
    code = """
import resource, numpy as np, lvm_fast as lf
rng = np.random.default_rng(0)
vectors = rng.standard_normal((60_000, 16), dtype=np.float32)
bank, queries = lf.VectorBank(vectors), vectors[:4096]
allow = rng.integers(0, 256, (4096, 7500), dtype=np.uint8)
ranges = np.tile([[0, 30_000], [31_000, 60_000]], (4096, 1, 1))
bank.rank(queries[:1], [0], allow=allow[:1], exclude_ranges=ranges[:1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KB
before = peak()
bank.rank(queries, np.arange(4096), allow=allow)
bank.topk(queries, 10, allow=allow, exclude_ranges=ranges)
assert peak() - before < 64_000, peak() - before
"""
    assert run_python(code).returncode == 0
