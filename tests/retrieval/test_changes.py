"""Banks that change: candidates appended and removed, against the score matrix of what is left."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from oracles import best_first, check_everything, check_filtered, fixed_order_scores

import lvm_fast as lf
from lvm_fast.retrieval.contents import _joined_with

METRICS = ("ip", "cosine", "l2")


def scored(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    rows = [np.asarray(a, np.float32) for a in (queries, vectors)]
    if metric == "cosine":
        lengths = [np.sqrt(fixed_order_scores(a, a).diagonal()) for a in rows]
        rows = [(a * (1 / n)[:, None]).astype(np.float32) for a, n in zip(rows, lengths, strict=True)]
    return fixed_order_scores(*rows, metric)


def in_pieces(vectors: Any, edges: list[int], metric: str) -> lf.VectorBank:
    bank = lf.VectorBank(vectors[: edges[0]], metric=metric)
    for first, last in zip(edges, [*edges[1:], len(vectors)], strict=True):
        np.testing.assert_array_equal(bank.append(vectors[first:last]), np.arange(first, last))
    return bank


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_appended_in_pieces_answers_as_one_bank(simd_level, rng, metric, dtype):
    vectors = np.resize(rng.standard_normal((300, 40)), (700, 40)).astype(dtype)  # with ties between the pieces
    queries = rng.standard_normal((40, 40)).astype(dtype)
    bank = in_pieces(vectors, [1, 2, 300, 311, 690], metric)
    assert len(bank) == 700
    scores = scored(queries, vectors, metric)
    check_everything(queries, vectors, scores, bank, rng)
    check_filtered(queries, scores, bank, rng)
    np.testing.assert_array_equal(bank.vectors.raw, vectors)


@pytest.mark.parametrize("metric", METRICS)
def test_removed_candidates_are_not_found(simd_level, rng, metric):
    vectors, queries = (rng.standard_normal((n, 24)).astype(np.float32) for n in (900, 50))
    bank = in_pieces(vectors, [500, 777], metric)
    scores, gone = scored(queries, vectors, metric), rng.permutation(900)[:400]
    bank.remove(gone[:1][0])
    bank.remove(gone[1:].reshape(3, -1))
    left = np.setdiff1d(np.arange(900), gone)
    np.testing.assert_array_equal(bank.ids, left)
    assert len(bank) == 500
    order = left[best_first(scores[:, left])]
    np.testing.assert_array_equal(bank.topk(queries, 500)[1], order)
    np.testing.assert_array_equal(bank.topk(queries, 7)[1], order[:, :7])
    targets = rng.choice(left, 50)
    np.testing.assert_array_equal(bank.rank(queries, targets), np.argmax(order == targets[:, None], axis=1))
    mask = rng.random((50, 900)) < 0.5
    expected = [[i for i in row if keep[i]][:5] for row, keep in zip(order, mask, strict=True)]
    np.testing.assert_array_equal(bank.topk(queries, 5, allow=mask)[1], expected)
    found = bank.band(queries, -np.inf, np.inf, 1000)
    np.testing.assert_array_equal(found, order)


def test_sums_leave_out_the_removed(simd_level, rng):
    vectors, queries = (rng.standard_normal((n, 33)).astype(np.float32) for n in (300, 9))
    bank = in_pieces(vectors, [200], "ip")
    best = bank.topk(queries, 1)[1]
    bank.remove(np.unique(np.concatenate([best[:, 0], np.arange(64, 128)])))
    scores = fixed_order_scores(queries, vectors)[:, bank.ids]
    sums, ids = bank.logsumexp(queries)
    np.testing.assert_allclose(sums, np.log(np.exp(scores).sum(axis=1)), rtol=1e-5)
    np.testing.assert_array_equal(ids, bank.ids[scores.argmax(axis=1)])


def test_ids_stay_and_are_not_given_again(rng):
    vectors = rng.standard_normal((30, 8)).astype(np.float32)
    bank = lf.VectorBank(vectors[:10])
    bank.remove(9)
    assert bank.append(vectors[10:12]).tolist() == [10, 11]
    bank.remove([10, 0])
    assert bank.append(vectors[12:13]).tolist() == [12]
    assert bank.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    for i in (1, 11, 12):
        assert bank.pair_scores(vectors[i], i) == fixed_order_scores(vectors[i : i + 1], vectors[i : i + 1])[0, 0]
    bank.remove(bank.ids)
    assert len(bank) == 0
    assert bank.band(vectors[:2], -np.inf, np.inf, 3).shape == (2, 0)
    assert bank.append(vectors[:1]).tolist() == [13]
    assert bank.topk(vectors[:1], 1)[1].tolist() == [[13]]


@pytest.mark.parametrize("metric", METRICS)
def test_save_packs_what_is_left(rng, tmp_path, metric):
    vectors, queries = (rng.standard_normal((n, 70)).astype(np.float32) for n in (400, 30))
    bank = in_pieces(vectors, [300], metric)
    bank.remove(np.arange(0, 400, 3))
    bank.save(tmp_path / "bank.safetensors")
    opened = lf.VectorBank.open(tmp_path / "bank.safetensors")
    left = bank.ids
    assert len(opened) == len(bank) == len(left) == 266
    check_everything(queries, vectors[left], scored(queries, vectors[left], metric), opened, rng)
    np.testing.assert_array_equal(left[opened.topk(queries, 9)[1]], bank.topk(queries, 9)[1])
    opened.remove([3, 5])  # one that is mapped
    assert opened.append(vectors[:2]).tolist() == [266, 267]
    expected = [left[i] for i in range(266) if i not in (3, 5)]
    np.testing.assert_array_equal(opened.ids, [i for i in range(268) if i not in (3, 5)])
    order = best_first(scored(queries, np.concatenate([vectors[expected], vectors[:2]]), metric))
    np.testing.assert_array_equal(opened.topk(queries, 266)[1], opened.ids[order])


@pytest.mark.parametrize("how", [lambda b: pickle.loads(pickle.dumps(b)), copy.deepcopy, copy.copy])
def test_a_copy_has_the_same_ids(rng, how):
    vectors, queries = (rng.standard_normal((n, 16)).astype(np.float32) for n in (200, 9))
    bank = in_pieces(vectors, [150], "l2")
    bank.remove([1, 160, 199])
    made = how(bank)
    np.testing.assert_array_equal(made.ids, bank.ids)
    np.testing.assert_array_equal(made.topk(queries, 197)[1], bank.topk(queries, 197)[1])
    made.remove(2)
    assert made.append(vectors[:1]).tolist() == [200]
    assert len(bank) == 197


def test_int8_rows_are_appended_with_their_scales(rng, tmp_path):
    rows, scales = rng.integers(-127, 128, (90, 33)).astype(np.int8), rng.uniform(0.01, 0.1, 90).astype(np.float32)
    store = lf.ChainStore(rows, [0, 90], scales=scales)
    bank = lf.VectorBank(store.vectors.select(slice(0, 50)))
    bank.append(store.vectors.select(slice(50, 80)))
    bank.append(store.vectors.select(slice(80, 90)))
    values, queries = rows.astype(np.float32) * scales[:, None], rng.standard_normal((9, 33)).astype(np.float32)
    check_everything(queries, values, fixed_order_scores(queries, values), bank, rng)


def test_little_by_little_segments_stay_few(rng):
    vectors, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (1500, 20))
    bank = lf.VectorBank(vectors[:10])
    for i in range(10, 1500):
        bank.append(vectors[i : i + 1])
        if i % 3 == 0:
            bank.remove(i)
    assert len(bank._contents.segments) <= 1 + 7 * 4
    left = np.array([i for i in range(1500) if i < 10 or i % 3])
    np.testing.assert_array_equal(bank.ids, left)
    order = left[best_first(fixed_order_scores(queries, vectors[left]))]
    np.testing.assert_array_equal(bank.topk(queries, 1000)[1], order[:, :1000])


@pytest.mark.parametrize(
    ("sizes", "added", "expected"),
    [
        ([], 5, 0),
        ([1000], 1000, 0),  # an order of magnitude in which there is room
        ([1000] * 6, 1000, 0),
        ([1000] * 7, 1000, 7),
        ([5000, 3], 1000, 1),  # a smaller one before it
        ([9000] * 3 + [1] * 7, 1, 7),
        ([64] * 7 + [8] * 7 + [1] * 7, 1, 21),  # each full order makes the next one full
    ],
)
def test_which_segments_are_packed_again(sizes, added, expected):
    assert _joined_with(sizes, added) == expected


def test_readers_see_before_or_after_and_never_between(rng):
    """Each stage adds 40 candidates above all before it, all alike, and takes the first 20 of them away."""
    base, query = rng.standard_normal((500, 24)).astype(np.float32), np.ones(24, np.float32)
    stages = [np.full((40, 24), 10.0 + i, np.float32) for i in range(30)]
    bank = lf.VectorBank(base)
    before, states = bank.topk(query, 30)[1].tolist(), set()
    for first in range(500, 500 + 40 * len(stages), 40):
        states.add(tuple(before))
        states.add(tuple(range(first, first + 30)))
        before = [*range(first + 20, first + 40), *before[:10]]
    states.add(tuple(before))
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            ids = tuple(bank.topk(query, 30)[1].tolist())
            if ids not in states:
                wrong.append(ids)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for rows in stages:
        added = bank.append(rows)
        bank.remove(added[:20])
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert bank.topk(query, 30)[1].tolist() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bank: bank.append(np.ones((2, 3), np.float32)), r"append: vectors: expected 4 columns, got 3"),
        (lambda bank: bank.append(np.ones((2, 4), np.float16)), r"append: vectors: expected float32 .*, got float16"),
        (lambda bank: bank.append([[1, 1, 1, np.nan]]), r"VectorBank\.append: vectors: row 0 holds NaN"),
        (lambda bank: bank.append([[1, 1, 1, 1], [0, 0, 0, 0]]), r"append: vectors: row 1 is all zeros"),
        (lambda bank: bank.append(np.ones((0, 4))), r"append: vectors: expected at least one row"),
        (lambda bank: bank.remove([0, 5]), r"remove: ids: the bank does not hold 5; nothing removed"),
        (lambda bank: bank.remove([-1]), r"remove: ids: the bank does not hold -1; nothing removed"),
        (lambda bank: bank.remove([0, 2]), r"remove: ids: the bank does not hold 2; nothing removed"),
        (lambda bank: bank.remove([0.5]), r"remove: ids: expected whole-number ids, got float64"),
        (lambda bank: bank.rank(np.ones(4), 2), r"rank: targets\[0\] = 2: expected an id that is held"),
        (lambda bank: bank.pair_scores(np.ones((2, 4)), [0, 2]), r"pair_scores: targets\[1\] = 2: expected an id that"),
        (lambda bank: bank.topk(np.ones(4), 5), r"k: expected 1 to 4 \(the bank's size\), got 5"),
    ],
)
def test_bad_changes_leave_the_bank_as_it_was(change, message):
    bank = lf.VectorBank(np.eye(5, 4, dtype=np.float32) + 1, normalize=True)
    bank.remove(2)
    with pytest.raises(ValueError, match=message):
        change(bank)
    assert bank.ids.tolist() == [0, 1, 3, 4]
    assert sorted(bank.topk(np.ones(4), 4)[1].tolist()) == [0, 1, 3, 4]
