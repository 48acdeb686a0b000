from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import query_windows
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.figures import CLOSED_FORMS
from lvm_fast.evaluation.pools import Pool
from lvm_fast.evaluation.predictions import predict_windows
from lvm_fast.retrieval.bank import VectorBank, hit_at_k

QUICK = {"context_length": 10, "bootstrap": 100}


@pytest.mark.parametrize("pool", ["targets", "store", 20, 150])
def test_no_change_ties_copy_last_exactly(store, zero_delta, pool):
    report = evaluate(zero_delta, store, pool=pool, **QUICK)
    copied = report.baselines["copy_last"]
    assert report.hits == {metric: copied[metric] for metric in report.hits}
    assert report.mrr == copied["mrr"]
    assert set(report.intervals["model - copy_last"].values()) == {(0.0, 0.0)}
    assert report.intervals["model"] == report.intervals["copy_last"]


def test_hits_of_the_targets_pool_equal_hit_at_k(store, momentum):
    windows = query_windows(store, 10)
    report = evaluate(momentum, store, exclude_read=False, **QUICK)
    expected = hit_at_k(predict_windows(momentum, windows), np.asarray(store.vectors)[windows.targets], normalize=True)
    assert report.hits == {metric: pytest.approx(expected[metric]) for metric in report.hits}
    assert report.mrr == pytest.approx(expected["mrr"])
    assert (report.pool, report.queries) == (expected["pool"], expected["queries"])


def test_cosine_and_direction_are_plain_means(store, momentum):
    windows = query_windows(store, 10)
    vectors = np.asarray(store.vectors, np.float64)
    predicted = predict_windows(momentum, windows).astype(np.float64)
    to_next = np.sum(predicted * vectors[windows.targets], axis=1)
    to_current = np.sum(predicted * vectors[windows.targets - 1], axis=1)
    report = evaluate(momentum, store, **QUICK)
    assert report.mean_cosine == pytest.approx(to_next.mean(), abs=1e-6)
    assert report.direction_margin == pytest.approx((to_next - to_current).mean(), abs=1e-6)
    assert report.direction_margin > report.baselines["copy_last"]["direction_margin"]


def test_differences_are_paired_and_intervals_surround_the_figures(store, momentum):
    report = evaluate(momentum, store, **QUICK)
    for name in CLOSED_FORMS:
        for metric, (low, high) in report.intervals[f"model - {name}"].items():
            difference = report.scores["model"][metric] - report.baselines[name][metric]
            assert low <= difference + 1e-12
            assert difference <= high + 1e-12
    low, high = report.intervals["model - copy_last"]["mean_cosine"]
    (a, b), (c, d) = report.intervals["model"]["mean_cosine"], report.intervals["copy_last"]["mean_cosine"]
    assert high - low < (b - a) + (d - c)


def test_in_the_whole_store_copy_last_finds_itself(store, momentum):
    report = evaluate(momentum, store, pool="store", exclude_read=False, **QUICK)
    assert report.pool == len(store.vectors)
    assert report.baselines["copy_last"]["hit@1"] == 0.0
    assert report.pool_holds_current == 1.0


def test_the_curve_meets_the_pools_it_passes(store, distractors, momentum):
    targets = evaluate(momentum, store, distractors=distractors, **QUICK)
    everything = evaluate(momentum, store, pool="store", distractors=distractors, **QUICK)
    curve = {point.pool: point for point in targets.curve}
    assert everything.pool == len(store.vectors) + len(distractors.vectors) == max(curve)
    for report in (targets, everything):
        for name, scores in report.scores.items():
            assert curve[report.pool].hits[name] == pytest.approx(scores["hit@5"])
        for name, interval in curve[report.pool].intervals.items():
            assert interval == pytest.approx(report.intervals[name]["hit@5"])
    assert [vars(point) for point in everything.curve] == [vars(point) for point in targets.curve]


def test_random_pools_agree_with_the_curve(store, momentum):
    """The mean over many sized pools is what the curve works out."""
    drawn = [
        evaluate(momentum, store, pool=100, seed=seed, curve=False, context_length=10, bootstrap=1).hits["hit@5"]
        for seed in range(60)
    ]
    curve = {point.pool: point.hits["model"] for point in evaluate(momentum, store, **QUICK).curve}
    assert 100 not in curve
    assert curve[115] - 0.02 < np.mean(drawn) < curve[50] + 0.02


def test_a_bank_with_the_store_in_it_is_the_store(store, momentum):
    bank = VectorBank(np.asarray(store.vectors), normalize=True)
    given, whole = (evaluate(momentum, store, pool=pool, **QUICK) for pool in (bank, "store"))
    assert given.scores == whole.scores
    assert given.intervals == whole.intervals
    assert given.pool_holds_current is None
    assert given.curve[-1].hits["model"] == given.hits["hit@5"]


def test_rivals_meet_on_the_same_queries(store, momentum, zero_delta):
    report = evaluate(momentum, store, rivals={"untrained": zero_delta}, **QUICK)
    assert report.baselines["untrained"] == report.baselines["copy_last"]
    assert report.intervals["model - untrained"] == report.intervals["model - copy_last"]


def test_one_chain_has_no_intervals_and_says_why(one_chain, momentum):
    report = evaluate(momentum, one_chain, **QUICK)
    assert report.chains == 1
    assert {value for metrics in report.intervals.values() for value in metrics.values()} == {None}
    assert "one chain" in report.interval_note
    assert {value for point in report.curve for value in point.intervals.values()} == {None}


def test_pieces_of_one_chain_are_one_chain(store, momentum):
    pieces = ChainStore(store.vectors, store.offsets, origins=["a"] * len(store))
    assert evaluate(momentum, pieces, **QUICK).interval_note is not None
    assert evaluate(momentum, pieces, **QUICK).chains == 1


def test_the_seed_decides_everything(store, momentum):
    first, again, other = (evaluate(momentum, store, pool=15, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": "everything"}, "pool = 'everything'; expected 'targets', 'store', a size or a VectorBank"),
        ({"pool": True}, "pool = True"),
        ({"pool": 100_000}, "pool = 100,000; expected 1 to 233"),
        ({"ks": ()}, "ks = "),
        ({"ks": (0, 5)}, "ks = "),
        ({"pool_ids": np.arange(233)}, "pool_ids with pool = 'targets'; expected a VectorBank"),
        ({"rivals": {"copy_last": torch.nn.Identity()}}, "rivals has the name 'copy_last'"),
        ({"rivals": {"whitened_recency": torch.nn.Identity()}}, "rivals has the name 'whitened_recency'"),
        ({"exclude_read": "yes"}, "evaluate: exclude_read: expected True or False, got 'yes'"),
        ({"training": np.eye(12)}, "evaluate: training is a ndarray; expected a ChainStore or None"),
        ({"training": ChainStore(np.eye(3, dtype=np.float32), [0, 3])}, "training has 3 dimensions; expected 12"),
        ({"min_length": 500}, "longest chain has 60 rows"),
        ({"bootstrap": 0}, "bootstrap = 0"),
    ],
)
def test_bad_arguments_are_named(store, zero_delta, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(zero_delta, store, **{"context_length": 10, **arguments})


def test_a_store_of_another_dimension_is_an_error(store, zero_delta):
    zero_delta.input_dim = 768
    with pytest.raises(ValueError, match="the store has 12 dimensions; expected 768"):
        evaluate(zero_delta, store)


def test_every_pool_is_ranked_once_and_gives_one_curve(store, momentum, monkeypatch):
    ranked = []
    ranks = Pool.both_ranks
    monkeypatch.setattr(Pool, "both_ranks", lambda pool, answers: ranked.append(len(pool)) or ranks(pool, answers))
    curves = []
    for pool in ("targets", "store", 150):
        curves.append(evaluate(momentum, store, pool=pool, **QUICK).curve)
    targets, rows = len(query_windows(store, 10).targets), len(store.vectors)
    assert ranked == [targets, rows, rows, targets, 150, targets, rows]
    assert curves[0] == curves[1] == curves[2]
    evaluate(momentum, store, pool=VectorBank(store.vectors, normalize=True), **QUICK)
    assert ranked[7:] == [rows]


def test_numpy_s_scalars_and_paths_end_as_plain_json(store, momentum, tmp_path):
    store.metadata["source"] = np.str_("made")
    report = evaluate(
        momentum,
        store,
        context_length=np.int64(10),
        stride=np.int32(3),
        pool=np.int64(20),
        ks=np.array([1, 5]),
        seed=np.uint8(3),
        bootstrap=np.int64(5),
        batch_size=np.int16(64),
        min_length=np.int64(4),
        min_coherence=np.float32(-1),
        data_name=tmp_path / "chains.safetensors",
    )
    plain = evaluate(
        momentum,
        store,
        10,
        20,
        3,
        (1, 5),
        3,
        5,
        64,
        min_length=4,
        min_coherence=-1.0,
        data_name=str(tmp_path / "chains.safetensors"),
    )
    assert report.to_dict() == plain.to_dict()
    assert type(report.seed) is type(report.context_length) is type(report.stride) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1.5}, "evaluate: seed: expected a whole number of at least 0, got 1.5"),
        ({"seed": -1}, "evaluate: seed: expected a whole number of at least 0, got -1"),
        ({"seed": True}, "evaluate: seed: expected a whole number"),
        ({"bootstrap": 10**12}, "bootstrap = 1000000000000: expected a whole number from 1 to 100000"),
        ({"bootstrap": 10.0}, "bootstrap = 10.0: expected a whole number"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1, got 0"),
        ({"ks": (1, 2.5)}, "expected a whole number of at least 1, got 2.5"),
        ({"pool": 2.5}, "pool = 2.5; expected 'targets', 'store', a size or a VectorBank"),
        ({"pool": np.bool_(True)}, "pool = "),
    ],
)
def test_numbers_that_are_none_are_named(store, zero_delta, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(zero_delta, store, **{"context_length": 10, **arguments})


def test_notes_are_kept_and_few_questions_added(store, momentum):
    report = evaluate(momentum, store, stride=12, notes=["It saw them."], **QUICK)
    assert report.notes == [
        "It saw them.",
        f"Only {report.queries} questions: a single answer moves a Hit@K by {100 / report.queries:.0f} points.",
    ]
    assert report.warnings == [*report.notes, report.interval_note]
    assert all(f"- **{note}**" in report.to_markdown() for note in report.warnings)
