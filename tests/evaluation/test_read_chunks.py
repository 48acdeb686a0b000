"""What a question has read is no candidate: ranks against a count in float64, one candidate at a time."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import GivenWindows, Windows
from lvm_fast.evaluation import read_chunks as reading
from lvm_fast.evaluation.baselines import chance
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.pools import Candidates, pool_of_bank
from lvm_fast.evaluation.predictions import Answer, plain_answer
from lvm_fast.evaluation.read_chunks import ReadCandidates
from lvm_fast.retrieval.bank import VectorBank

from .conftest import DIM, drifting_store

LENGTHS = [40, 9, 25, 60, 6, 31, 12, 50]
ORIGINS = ["a", "b", "a", "c", "d", "b", "e", "a"]  # the pieces of a chain do not lie side by side


@pytest.fixture
def store():
    """Chains of which some are pieces of one, with copies of rows: within chains, across them, and of targets."""
    vectors = np.asarray(drifting_store(LENGTHS, seed=1).vectors).copy()
    rng = np.random.default_rng(7)
    for _ in range(60):
        row, copy = rng.integers(0, len(vectors), 2)
        vectors[copy] = vectors[row]
    return ChainStore(vectors, np.concatenate(([0], np.cumsum(LENGTHS))), origins=ORIGINS)


@pytest.fixture
def windows(store):
    """Several windows ask for one target."""
    plain = Windows(store, 10, stride=2)
    starts = np.concatenate((plain.starts, plain.starts[:30] + 1))
    return GivenWindows(store, starts, np.concatenate((plain.targets, plain.targets[:30])))


def chain_names(store):
    return np.repeat(np.array(store.origins), store.lengths)


def counted_ranks(windows, queries, vectors, rows, unit=True):
    """Who beats each target, counted: all candidates, and those not read. `rows` are the candidates' store rows."""
    names, store_rows = chain_names(windows.store), len(windows.store.vectors)
    keys = vectors.astype(np.float64)
    if unit:
        keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    every, unread, left_out = [], [], []
    for query, target in zip(queries.astype(np.float64), windows.targets, strict=True):
        scores = [float((keys[place] * query).sum()) for place in range(len(rows))]
        own = int(np.flatnonzero(rows == target)[0])
        ahead, kept, dropped = 0, 0, 0
        for place, row in enumerate(rows):
            beats = scores[place] > scores[own] or (scores[place] == scores[own] and place < own)
            is_read = row < store_rows and names[row] == names[target] and row < target
            ahead, kept, dropped = ahead + beats, kept + (beats and not is_read), dropped + is_read
        every.append(ahead), unread.append(kept), left_out.append(dropped)
    return np.array(every), np.array(unread), np.array(left_out)


def searched_with(windows, seed=0):
    """Near the targets and the chunks before them, so that what was read often lies ahead."""
    rng = np.random.default_rng(seed)
    vectors = windows.store.vectors
    near = vectors[windows.targets] + vectors[windows.targets - 1] + 0.3 * rng.standard_normal((len(windows), DIM))
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", ["targets", "more", "store", "store and distractors", "bank with ids"])
def test_unread_ranks_equal_a_count(store, windows, kind, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK", 100)
    extra = drifting_store([90, 110], seed=2) if kind in ("more", "store and distractors") else None
    candidates = Candidates(windows, extra)
    everything = np.concatenate([np.asarray(part, np.float32) for part in candidates.parts])
    order = np.random.default_rng(3).permutation(len(everything))
    bank = VectorBank(everything[order], normalize=True)
    pool = {
        "targets": candidates.targets,
        "more": lambda: candidates.sized(300, seed=4),
        "bank with ids": lambda: pool_of_bank(windows, bank, np.argsort(order)),
    }.get(kind, candidates.all)()
    places, known = pool.find_rows()
    rows = np.full(len(pool), len(everything))  # of no row of the store
    rows[places] = known
    np.testing.assert_array_equal(pool.bank.vectors[places], store.vectors[known])
    assert set(candidates.target_rows) <= set(known)
    whole = {"targets": len(candidates.target_rows), "more": len(known)}
    assert len(known) == whole.get(kind, len(store.vectors))
    asked = searched_with(windows)
    ranks = pool.both_ranks({"a": plain_answer(asked), "b": plain_answer(-asked)})
    for name, vectors in (("b", -asked), ("a", asked)):
        every, unread, left_out = counted_ranks(windows, vectors, pool.bank.vectors[:], rows)
        np.testing.assert_array_equal(ranks.with_read[name], every)
        np.testing.assert_array_equal(ranks.unread[name], unread)
        np.testing.assert_array_equal(pool.read.counts, left_out)
    assert (unread < every).mean() > 0.1


def test_a_bank_that_holds_every_row_once_is_looked_up(windows):
    """Without copies, looking rows up finds the very same candidates as being told."""
    store = drifting_store(LENGTHS, seed=1)
    plain = GivenWindows(store, windows.starts, windows.targets)
    order = np.random.default_rng(3).permutation(len(store.vectors))
    bank = VectorBank(np.asarray(store.vectors)[order], normalize=True)
    asked = {"a": plain_answer(searched_with(plain))}
    looked_up, told = pool_of_bank(plain, bank), pool_of_bank(plain, bank, np.argsort(order))
    np.testing.assert_array_equal(looked_up.both_ranks(asked).unread["a"], told.both_ranks(asked).unread["a"])
    np.testing.assert_array_equal(looked_up.read.counts, told.read.counts)


def test_copies_in_a_bank_that_is_looked_up_are_left_out_each(store):
    """A chain that says one thing three times has read two candidates when the bank holds all three."""
    vectors = np.asarray(store.vectors).copy()
    vectors[[1, 4]] = vectors[2]
    store = ChainStore(vectors, store.offsets, origins=list(store.ids))
    windows = GivenWindows(store, [0], [20])
    rows = [1, 2, 4, 20, 21, 100]
    whole, thin = (VectorBank(vectors[held], normalize=True) for held in (rows, [1, 20, 21, 100]))
    asked = {"a": plain_answer(vectors[[2]])}
    for bank, read in ((whole, 3), (thin, 1)):
        pool = pool_of_bank(windows, bank)
        assert pool.read.counts.tolist() == [read]
        ranks = pool.both_ranks(asked)
        assert ranks.with_read["a"] - ranks.unread["a"] == [read]


def test_rows_that_are_one_candidate_are_read_with_the_first_and_a_target_never(store):
    windows = GivenWindows(store, [0, 0, 0], [5, 8, 10])
    places, rows = np.array([0, 1, 0, 2, 1]), np.array([3, 4, 6, 8, 10])  # candidate 1 is rows 4 and 10
    read = ReadCandidates(windows, np.arange(3), np.array([3, 2, 1]), places, rows)
    assert read.counts.tolist() == [2, 2, 2]  # 0, 1; 0, 1; 0, 2 (1 is the answer)


def test_equal_scores_keep_their_rule(store):
    """A copy that was read and stands before its target no longer counts; one of another chain does."""
    vectors = np.asarray(store.vectors).copy()
    offsets = store.offsets
    own, other = offsets[3] + 2, offsets[1] + 1
    target = offsets[3] + 30
    vectors[[own, other]] = vectors[target]
    twins = ChainStore(vectors, offsets, origins=ORIGINS)
    windows = GivenWindows(twins, [offsets[3]], [target])
    ranks = Candidates(windows).all().both_ranks({"a": plain_answer(vectors[[target]])})
    copies = int((vectors[:target] == vectors[target]).all(axis=1).sum())
    names = chain_names(twins)
    read = int(((vectors[:target] == vectors[target]).all(axis=1) & (names[:target] == names[target])).sum())
    assert read >= 1
    assert (ranks.with_read["a"].tolist(), ranks.unread["a"].tolist()) == ([copies], [copies - read])


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_banks_of_inner_products_have_their_own_scores(store, windows, shift):
    """With lengths of many sizes, and keys of a space."""
    vectors = np.asarray(store.vectors) * np.random.default_rng(5).uniform(0.2, 40, (len(store.vectors), 1))
    vectors = (vectors + shift).astype(np.float32)
    bank = VectorBank(vectors)
    pool = pool_of_bank(windows, bank, np.arange(len(vectors)))
    asked = searched_with(windows)
    ranks = pool.both_ranks(
        {"plain": plain_answer(asked), "keys": Answer(asked, asked[:, :5], lambda rows: rows[:, 2:7])}
    )
    rows = np.arange(len(vectors))
    for name, keys, queries in (("plain", vectors, asked), ("keys", vectors[:, 2:7], asked[:, :5])):
        every, unread, _ = counted_ranks(windows, queries, keys, rows, unit=False)
        np.testing.assert_array_equal(ranks.with_read[name], every)
        np.testing.assert_array_equal(ranks.unread[name], unread)


@pytest.mark.parametrize("pool", ["targets", "store", 150])
def test_the_report_has_both_ways(store, momentum, pool):
    options = {"context_length": 10, "pool": pool, "bootstrap": 20}
    usual, left_out, kept = (evaluate(momentum, store, exclude_read=way, **options) for way in (None, True, False))
    assert usual == left_out
    assert (left_out.exclude_read, kept.exclude_read) == (True, False)
    for one, other in ((left_out, kept), (kept, left_out)):
        for name, scores in one.other_way.items():
            assert scores == {metric: pytest.approx(other.scores[name][metric]) for metric in scores}
        assert one.other_way.keys() == other.scores.keys() - {"chance"}
        curve = {point.pool: point.hits for point in one.curve}
        if one.pool in curve:
            assert curve[one.pool] == {name: pytest.approx(scores["hit@5"]) for name, scores in one.scores.items()}
    assert left_out.hits["hit@5"] > kept.hits["hit@5"]


def test_random_pools_agree_with_the_curve_without_what_was_read(store, momentum):
    drawn = [
        evaluate(momentum, store, 10, 150, seed=seed, curve=False, bootstrap=1).hits["hit@5"] for seed in range(80)
    ]
    curve = {point.pool: point.hits["model"] for point in evaluate(momentum, store, 10, bootstrap=1).curve}
    assert curve[230] - 0.01 < np.mean(drawn) < curve[115] + 0.01


def test_chance_is_that_of_what_is_left(store, momentum):
    windows = Windows(store, 10, 2)
    report = evaluate(momentum, windows, pool="store", bootstrap=1)
    read = Candidates(windows).all().read.counts
    sizes = len(store.vectors) - read
    assert report.baselines["chance"]["hit@5"] == pytest.approx(np.mean(5 / sizes))
    assert report.baselines["chance"]["mrr"] == pytest.approx(np.mean([chance(size)["mrr"] for size in sizes]))


def sequence_windows(tmp_path):
    vectors = np.asarray(drifting_store([60], seed=3).vectors)
    contexts = np.stack([vectors[first : first + 5] for first in range(0, 50, 2)])
    np.savez(tmp_path / "w.npz", context_sequences=contexts, target_vectors=vectors[5:55:2])
    return GivenWindows.of_sequences(tmp_path / "w.npz")


def test_windows_that_know_no_chains_keep_all_candidates_and_say_so(tmp_path, momentum):
    windows = sequence_windows(tmp_path)
    report = evaluate(momentum, windows, bootstrap=5)
    assert (report.exclude_read, report.other_way) == (False, {})
    note = "The windows of a sequence file tell no documents: what a context has said before is among the candidates."
    assert note in report.notes
    assert report.hits == evaluate(momentum, windows, exclude_read=False, bootstrap=5).hits
    with pytest.raises(ValueError, match="evaluate: exclude_read = True, but the windows of a sequence file") as error:
        evaluate(momentum, windows, exclude_read=True)
    assert "\n" not in str(error.value)
