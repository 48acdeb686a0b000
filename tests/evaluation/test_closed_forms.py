"""The closed forms, against the same written out in float64, and what is chosen of them where."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.baselines import recency_means
from lvm_fast.evaluation.closed_forms import DECAYS, USUAL_DECAYS, closed_forms
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.pools import Candidates
from lvm_fast.evaluation.yardstick import CLOSED_FORMS, best_of

from .conftest import DIM, drifting_store

STRENGTHS = {"recency_mean": None, "centred_recency": 0.0, "whitened_recency": 0.5}


def leaning_store(lengths, seed, scale=1.0):
    """Chains in a narrow cone, whose directions differ in how much they vary."""
    drifting = drifting_store(lengths, seed)
    vectors = np.asarray(drifting.vectors) * np.linspace(0.2, 1.5, DIM) + np.linspace(0.4, 0.1, DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ChainStore((scale * vectors).astype(np.float32), drifting.offsets)


@pytest.fixture
def store():
    return leaning_store([40, 9, 25, 60, 6, 31, 12, 50], seed=1)


@pytest.fixture
def training():
    return leaning_store([70, 45, 30, 80], seed=2)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def space_in_float64(known, strength):
    """The map that the closed form takes its vectors through."""
    if strength is None:
        return unit
    known = unit(np.asarray(known, np.float64))
    mean = known.mean(axis=0)
    values, basis = np.linalg.eigh(np.cov(known.T, bias=True))
    matrix = basis @ np.diag((values + 0.02 * values.mean()) ** (-strength / 2)) @ basis.T
    return lambda rows: unit((unit(rows) - mean) @ matrix)


def decayed_in_float64(windows, decay, mapped):
    means = np.zeros((len(windows), mapped.shape[1]))
    for window, (start, target) in enumerate(zip(windows.starts, windows.targets, strict=True)):
        for row in range(start, target):
            means[window] += decay ** (target - 1 - row) * mapped[row]
    return unit(means)


def counted(queries, keys, windows):
    """Ranks among the targets, without what was read."""
    rows = np.unique(windows.targets)
    chains = windows.store.chain_of(rows)
    ranks = []
    for query, target in zip(queries, windows.targets, strict=True):
        scores = keys[rows] @ query
        read = (chains == windows.store.chain_of(target)) & (rows < target)
        ranks.append(int(((scores > scores[rows == target]) & ~read).sum()))
    return np.array(ranks)


@pytest.mark.parametrize("with_training", [True, False])
@pytest.mark.parametrize("name", STRENGTHS)
def test_each_is_what_it_says(store, training, with_training, name):
    windows = Windows(store, 15, 3)
    forms = closed_forms(windows, training if with_training else None)
    assert forms.fitted_on == ("the training part" if with_training else "the candidates")
    to_space = space_in_float64((training if with_training else store).vectors, STRENGTHS[name])
    keys = to_space(np.asarray(store.vectors, np.float64))
    expected = decayed_in_float64(windows, forms.decays[name], keys)
    answer = forms.answers[name]
    np.testing.assert_allclose(answer.query, expected, atol=2e-5)
    if answer.keys is not None:
        np.testing.assert_allclose(answer.keys(store.vectors[:]), keys, atol=2e-5)
    plain = decayed_in_float64(windows, forms.decays[name], unit(np.asarray(store.vectors, np.float64)))
    np.testing.assert_allclose(answer.predicted, plain, atol=2e-6)
    ranks = Candidates(windows).targets().both_ranks(forms.answers).unread[name]
    np.testing.assert_array_equal(ranks, counted(expected, keys, windows))


def test_decays_are_the_best_on_the_training_chains_and_never_chosen_on_the_questions(store, training):
    asked = Windows(training, 15, 2)  # the usual stride for so few chains
    best = {}
    for name, strength in STRENGTHS.items():
        keys = space_in_float64(training.vectors, strength)(np.asarray(training.vectors, np.float64))
        merits = []
        for decay in DECAYS:
            ranks = counted(decayed_in_float64(asked, decay, keys), keys, asked)
            merits.append(((ranks < 5).mean(), (1 / (ranks + 1)).mean()))
        best[name] = DECAYS[max(range(len(DECAYS)), key=merits.__getitem__)]
    assert closed_forms(Windows(store, 15, 3), training).decays == best
    assert closed_forms(Windows(drifting_store([50, 60], 9), 15, 3), training).decays == best
    assert best != USUAL_DECAYS
    assert closed_forms(Windows(store, 15, 3)).decays == USUAL_DECAYS


def test_the_length_of_vectors_does_not_matter(store, training):
    windows, longer = Windows(store, 15, 3), Windows(leaning_store([40, 9, 25, 60, 6, 31, 12, 50], 1, 7.0), 15, 3)
    plain, scaled = closed_forms(windows, training).answers, closed_forms(longer, training).answers
    for name, answer in plain.items():
        np.testing.assert_allclose(answer.query, scaled[name].query, atol=1e-5)


def test_training_chains_too_short_to_ask_leave_the_usual_decays(store):
    short = leaning_store([3] * 30, seed=4)
    forms = closed_forms(Windows(store, 15, 3), short)
    assert (forms.decays, forms.fitted_on) == (USUAL_DECAYS, "the training part")


def test_what_cannot_be_fitted_is_left_out_and_said(zero_delta):
    same = ChainStore(np.ones((60, DIM), np.float32), [0, 30, 60])
    report = evaluate(zero_delta, same, 5, bootstrap=5)
    assert report.baselines.keys() == {"copy_last", "recency_mean", "chance"}
    assert "Without the centred and the whitened recency mean: Space: all 60 rows are equal" in report.notes[0]
    report.to_markdown()


def test_equal_rows_have_equal_keys_in_every_space(store):
    """An exact copy before the target is ahead of it and one behind is not, whatever the space."""
    vectors = np.asarray(store.vectors).copy()
    windows = Windows(store, 10, 2)
    first, last = windows.targets[3], windows.targets[-4]
    vectors[last] = vectors[first]
    twins = Windows(ChainStore(vectors, store.offsets), 10, 2)
    forms = closed_forms(twins)
    pool = Candidates(twins).targets()
    answers = {name: answer._replace(query=np.asarray(answer.query)) for name, answer in forms.answers.items()}
    for name in ("centred_recency", "whitened_recency"):
        answers[name].query[[3, -4]] = answers[name].keys(vectors[[first, first]])
    ranks = pool.both_ranks(answers).with_read
    for name in ("centred_recency", "whitened_recency"):
        assert (ranks[name][3], ranks[name][-4]) == (0, 1)


def test_means_of_several_decays_and_blocks_are_those_of_each(store, monkeypatch):
    windows = Windows(store, 15, 1)
    alone = [recency_means(windows, (decay,))[0] for decay in (0.5, 1.0)]
    monkeypatch.setattr("lvm_fast.evaluation.baselines._BLOCK", 40)
    for together, own in zip(recency_means(windows, (0.5, 1.0)), alone, strict=True):
        np.testing.assert_array_equal(together, own)


def test_the_report_names_what_they_were_fitted_on(store, training, zero_delta):
    for given, said in ((training, "the training part"), (None, "the candidates")):
        report = evaluate(zero_delta, store, 10, training=given, bootstrap=5, curve=False)
        assert report.fitted_on == report.to_dict()["fitted_on"] == said
        assert report.decays == report.to_dict()["decays"] == closed_forms(Windows(store, 10, 2), given).decays
        document = report.to_markdown()
        assert f"(mean and covariance, fitted on {said})" in " ".join(document.split())
        assert set(CLOSED_FORMS) < report.baselines.keys()
        assert report.yardstick == best_of(report.baselines, "hit@5")
