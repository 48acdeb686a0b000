"""Models that search a space of their own: with `query` among `keys`, beside the cosine of `predict`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.compare import Contender, compare
from lvm_fast.evaluation.compare_markdown import comparison_headline, comparison_summary
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.yardstick import CLOSED_FORMS
from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.spaces import fit_space
from lvm_fast.training.distributed import Processes
from lvm_fast.training.validation import Validation

from .conftest import DIM, drifting_store

SIZES = {"input_dim": DIM, "hidden_dim": 8, "num_layers": 1, "memory_slots": 4}
QUICK = {"context_length": 10, "bootstrap": 40}


class InSpace(MemoryGRU):
    """Searches the whitened space of some chains with the mean of the last two vectors there; predicts the last one."""

    has_keys = True

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self._fitted = fit_space(drifting_store([200], seed=6).vectors, "whitened", 0.8)

    def forward(self, context, lengths=None):
        raise AssertionError("a delta in another space is no answer")

    def predict(self, context, lengths=None, weights="float32"):
        last = -1 if lengths is None else np.asarray(lengths) - 1
        return context[np.arange(len(context)), last]

    def query(self, context, lengths=None, weights="float32"):
        rows, last = np.arange(len(context)), np.asarray(lengths) - 1
        means = self.keys(context[rows, last]) + self.keys(context[rows, np.maximum(last - 1, 0)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def keys(self, vectors):
        return self._fitted.keys(vectors)


@pytest.fixture
def model():
    return InSpace(**SIZES)


def counted_hits(model, windows, rows, k):
    """In float64, without what was read."""
    vectors = np.asarray(windows.store.vectors)
    keys = model.keys(vectors).astype(np.float64)
    hits = []
    for target in windows.targets:
        query = keys[target - 1] + keys[target - 2]
        scores, chain = keys[rows] @ query, windows.store.chain_of(target)
        read = (windows.store.chain_of(rows) == chain) & (rows < target)
        hits.append(((scores > scores[rows == target]) & ~read).sum() < k)
    return np.mean(hits)


@pytest.mark.parametrize("pool", ["targets", "store", "bank"])
def test_a_model_is_searched_in_its_space_and_by_plain_cosine(store, model, pool):
    windows = Windows(store, 10, 2)
    rows = np.unique(windows.targets) if pool == "targets" else np.arange(len(store.vectors))
    given = lf.VectorBank(store.vectors, normalize=True) if pool == "bank" else pool
    report = evaluate(model, windows, pool=given, bootstrap=40)
    for k in (1, 5, 10):
        assert report.hits[f"hit@{k}"] == pytest.approx(counted_hits(model, windows, rows, k))
    plain, copied = report.baselines["model_raw_cosine"], report.baselines["copy_last"]
    assert plain == pytest.approx(copied)  # which is what it predicts
    assert report.mean_cosine == pytest.approx(copied["mean_cosine"])
    assert report.hits["hit@5"] != plain["hit@5"]
    assert "model_raw_cosine" in report.other_way
    assert "| model, plain cosine " in report.to_markdown()


def test_the_headline_does_not_race_a_model_against_itself(store, model):
    report = evaluate(model, store, rivals={"other": model}, **QUICK)
    assert {"model_raw_cosine", "other", "other_raw_cosine"} < report.baselines.keys()
    verdict = report.to_markdown().splitlines()[2]
    assert "plain cosine" not in verdict
    assert "and other" in verdict or "from other" in verdict
    assert report.baselines["other"]["hit@5"] == report.hits["hit@5"]


def test_a_module_without_a_space_has_no_second_row(store, momentum):
    assert not any(name.endswith("raw_cosine") for name in evaluate(momentum, store, **QUICK).baselines)


def test_compare_keeps_the_space_of_a_model_that_sees_less(store, model):
    long, short = (Contender(name, model, length) for name, length in (("long", 30), ("short", 4)))
    found = compare([long, short], store, stride=3, bootstrap=40, timed=1)
    assert found.report.context_length == 30
    assert found.entries[0].figures.scores == found.entries[1].figures.scores  # two vectors are enough for it
    assert found.entries[1].raw_cosine.scores == pytest.approx(found.baselines["copy_last"].scores)
    summary = comparison_summary(found)
    assert "| short, plain cosine " in summary
    numbers = found.to_dict()
    assert numbers["runs"][1]["raw_cosine"]["scores"] == found.entries[1].raw_cosine.scores
    assert "contender" not in str(numbers)


def test_better_is_said_of_the_best_closed_form_alone(store, model):
    found = compare([Contender("one", model), Contender("raw", MemoryGRU(**SIZES))], store, 10, bootstrap=60, timed=1)
    report, (one, raw) = found.report, found.entries
    best = report.baselines[report.yardstick]
    for entry in (one, raw):
        for metric, lead in entry.figures.over_yardstick.items():
            assert lead == pytest.approx(entry.figures.scores[metric] - best[metric])
            low, high = entry.figures.over_yardstick_intervals[metric]
            assert low <= lead + 1e-9
            assert lead <= high + 1e-9
    assert found.baselines[report.yardstick].over_yardstick == {}
    assert comparison_headline(found).startswith("Against copy-last (the best without training), ")


def test_validation_scores_are_those_of_the_report(store, model):
    training = drifting_store([80, 90], seed=8)
    windows = Windows(store, 10, 2)
    validation = Validation(windows, "targets", 42, 32, Processes(torch.device("cpu")), training)
    report = evaluate(model, windows, training=training, bootstrap=5)
    assert report.exclude_read
    assert validation.baselines.keys() == set(CLOSED_FORMS)
    for name, found in {"model": validation.score(model), **validation.baselines}.items():
        scores = report.scores[name]
        assert found.keys() == {"hit1", "hit5", "hit10", "mrr", "mean_cosine"}
        for k in (1, 5, 10):
            assert found[f"hit{k}"] == pytest.approx(100 * scores[f"hit@{k}"])
        assert found["mrr"] == pytest.approx(100 * scores["mrr"])
        assert found["mean_cosine"] == pytest.approx(scores["mean_cosine"])
    assert validation.yardstick == report.yardstick


def test_a_model_that_searches_vectors_is_scored_by_plain_cosine():
    store = drifting_store([60, 50, 40, 70], seed=3)
    model = lf.create_model("whitened_recency", input_dim=DIM, space=fit_space(store.vectors))
    by_keys = lf.evaluate(model, store, stride=2, **QUICK)
    model.config["space"]["search"] = "vectors"
    by_vectors = lf.evaluate(model, store, stride=2, **QUICK)
    plain = by_keys.baselines["model_raw_cosine"]
    assert by_vectors.mrr == pytest.approx(plain["mrr"])
    assert by_vectors.hits["hit@5"] == pytest.approx(plain["hit@5"])
    assert by_vectors.mrr != pytest.approx(by_keys.mrr)
