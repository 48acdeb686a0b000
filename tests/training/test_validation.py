"""Small validation pools: what cannot move does not choose the epoch, and what rests on little says so."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.training.checkpoint import Progress
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data


def cut(store, chains):
    """The first chains of a store."""
    rows = int(store.offsets[chains])
    return ChainStore(store.vectors[:rows], store.offsets[: chains + 1])


@pytest.mark.parametrize("pool", [1, 2, 5])
def test_training_goes_on_by_what_can_still_move(recipe, pool):
    result = train(recipe(epochs=6, pool=pool, patience=2, lr=1e-2))
    assert result.pool == pool
    assert len(result.history) > 3  # a Hit@5 of 100 would have ended it
    best, first = result.history[result.best_epoch - 1], result.history[0]
    assert best["mrr"] == max(row["mrr"] for row in result.history)
    assert (best["hit5"], result.best_hit5) == (100.0, 100.0)
    log = (result.output_dir / "train.log").read_text()
    assert "warning: The best epoch is chosen by MRR, and where that is 100, by cos(predicted, next).\n" in log
    assert f"warning: In a pool of {pool} every prediction reaches Hit@5: that says nothing.\n" in log
    assert f" pool={pool} MRR={first['mrr']:.2f} cos={first['mean_cosine']:.4f} copy_last" in log


def test_in_a_larger_pool_hit5_alone_decides(recipe):
    result = train(recipe(epochs=6, pool=6, patience=2, lr=1e-2))
    assert (result.best_epoch, len(result.history)) == (1, 3)
    log = (result.output_dir / "train.log").read_text()
    assert "MRR" not in log
    assert "says nothing" not in log


def test_the_scores_are_those_of_the_report(recipe):
    result = train(recipe(epochs=2, pool=4))
    report = evaluate(result.model, result.validation, 8, 4, seed=42, bootstrap=5, curve=False)
    best = result.history[result.best_epoch - 1]
    assert best["mrr"] == pytest.approx(100 * report.mrr)
    assert best["mean_cosine"] == pytest.approx(report.mean_cosine)
    assert result.baselines["copy_last"]["mrr"] == pytest.approx(100 * report.baselines["copy_last"]["mrr"])


def test_few_questions_and_chains_are_told(recipe, store):
    result = train(recipe(epochs=1, data=cut(store, 8), val_fraction=0.2))
    log = (result.output_dir / "train.log").read_text()
    assert (
        f"warning: Only {result.pool} questions: a single answer moves a Hit@K by {100 / result.pool:.0f} points."
        in log
    )
    assert "warning: Only 2 validation chains: others may differ much from them." in log


def test_enough_is_not_warned_of(recipe, rng):
    chains = rng.standard_normal((60, 40, 16)).astype(np.float32)
    data = ChainStore(chains.reshape(-1, 16), np.arange(61) * 40)
    assert load_data(recipe(data=data, val_stride=2)).validation.stride == 2
    result = train(recipe(epochs=1, data=data, val_fraction=0.25))
    assert len(load_data(recipe(data=data, val_fraction=0.25)).validation) >= 200
    assert "warning" not in (result.output_dir / "train.log").read_text()


@pytest.mark.parametrize(
    ("pool", "first", "second", "is_best"),
    [
        (6, {"hit5": 50.0, "mrr": 20.0}, {"hit5": 50.005, "mrr": 90.0}, False),
        (6, {"hit5": 50.0, "mrr": 20.0}, {"hit5": 50.02, "mrr": 10.0}, True),
        (6, {"hit5": 100.0, "mrr": 60.0}, {"hit5": 100.0, "mrr": 90.0}, False),
        (5, {"hit5": 100.0, "mrr": 60.0}, {"hit5": 100.0, "mrr": 61.0}, True),
        (5, {"hit5": 100.0, "mrr": 60.0}, {"hit5": 100.0, "mrr": 60.0}, False),
        (5, {"hit5": 100.0, "mrr": 60.0}, {"hit5": 100.0, "mrr": 60.005}, False),
        (1, {"hit5": 100.0, "mrr": 100.0, "mean_cosine": 0.5}, {"hit5": 100.0, "mrr": 100.0, "mean_cosine": 0.6}, True),
        (3, {"hit5": 100.0, "mrr": 100.0, "mean_cosine": 0.5}, {"hit5": 100.0, "mrr": 99.0, "mean_cosine": 0.6}, False),
        (
            3,
            {"hit5": 100.0, "mrr": 100.0, "mean_cosine": 0.5},
            {"hit5": 100.0, "mrr": 100.0, "mean_cosine": 0.5},
            False,
        ),
        (5, {"hit5": 100.0}, {"hit5": 100.0, "mrr": 1.0, "mean_cosine": 0.1}, True),  # an older row has hits alone
    ],
)
def test_the_best_epoch_is_that_of_a_score_that_can_rise(pool, first, second, is_best):
    progress = Progress(best_hit5=first["hit5"], best_epoch=1, history=[{"epoch": 1, "pool": pool, **first}])
    assert progress.add({"epoch": 2, "pool": pool, **second}, 1e-4) is is_best
    assert progress.best_epoch == (2 if is_best else 1)


def test_a_short_context_or_few_chains_get_more_questions(recipe, store):
    usual = load_data(recipe(context_length=30)).validation
    assert usual.stride == 2  # half of 30 would ask 12 questions
    assert load_data(recipe(context_length=30, val_stride=15)).validation.stride == 15
