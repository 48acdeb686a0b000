"""Single questions of an evaluation: what was found is what a full sort finds, what was read is left out."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.split import split_chains
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.figures import Chunk
from lvm_fast.evaluation.three_predictions import three_predictions
from lvm_fast.retrieval.bank import VectorBank

from .conftest import DIM, Momentum, ZeroDelta, drifting_store


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("exclude_read", [True, False])
@pytest.mark.parametrize("pool", ["targets", 150, "store"])
def test_the_best_candidates_are_those_of_a_full_sort(store, distractors, pool, exclude_read):
    report = evaluate(
        ZeroDelta(), store, 10, pool, 3, distractors=distractors, exclude_read=exclude_read, questions=500
    )
    assert len(report.questions) == report.queries
    ids = {name: int(first) for name, first in zip(store.ids, store.offsets, strict=False)}
    rows = unit(np.concatenate([store.vectors[:], distractors.vectors[:]]))
    others = {f"chain_{c}": len(store.vectors) + int(distractors.offsets[c]) for c in range(2)}
    for question in report.questions:
        target = ids[question.target.chain] + question.target.position
        current = rows[target - 1]
        assert question.context[-1] == Chunk(question.target.chain, question.target.position - 1, None)
        best = question.best["model"]
        assert len(best) == 5
        for found in best:
            where = {ids.get(found.chunk.chain, -1), others.get(found.chunk.chain, -1)} - {-1}
            scores = [float(rows[first + found.chunk.position] @ current) for first in where]
            assert min(abs(score - found.score) for score in scores) < 1e-5
            if exclude_read and len(where) == 1 and found.chunk.chain == question.target.chain:
                assert found.chunk.position >= question.target.position
        assert [found.score for found in best] == sorted((found.score for found in best), reverse=True)
        places = [place for place, found in enumerate(best, 1) if found.is_right]
        assert places == ([question.ranks["model"]] if question.ranks["model"] <= 5 else [])
    hits = [question.ranks["model"] <= 5 for question in report.questions]
    assert np.mean(hits) == pytest.approx(report.hits["hit@5"])


def test_all_predictors_ranks_and_the_best_closed_forms_candidates_are_there(store):
    report = evaluate(Momentum(), store, 10, stride=2, rivals={"zero": ZeroDelta()}, questions=50)
    assert len(report.questions) == 50
    for question in report.questions:
        assert question.ranks.keys() == report.scores.keys() - {"chance"}
        assert question.best.keys() == {"model", report.yardstick}
        right = [place for place, found in enumerate(question.best[report.yardstick], 1) if found.is_right]
        assert right == ([question.ranks[report.yardstick]] if question.ranks[report.yardstick] <= 5 else [])


def test_a_model_in_a_space_is_shown_with_the_scores_of_its_space(store):
    torch.manual_seed(0)
    model = lf.create_model("gru", input_dim=DIM, hidden_dim=6, num_layers=1, space=lf.fit_space(store.vectors)).eval()
    report = evaluate(model, store, 10, stride=3, questions=20)
    first = report.questions[0]
    chain = store.ids.index(first.target.chain)
    target = int(store.offsets[chain]) + first.target.position
    query = model.query(store.vectors[target - first.read : target][None])[0]
    for found in first.best["model"]:
        row = int(store.offsets[store.ids.index(found.chunk.chain)]) + found.chunk.position
        assert found.score == pytest.approx(float(model.keys(store.vectors[row : row + 1])[0] @ query), abs=1e-5)


def test_a_given_bank_tells_which_of_its_vectors_are_chunks(store):
    rows = np.concatenate([drifting_store([30], seed=9).vectors[:], store.vectors[:]])
    report = evaluate(ZeroDelta(), store, 10, VectorBank(rows, normalize=True), 5, questions=100)
    found = [found for question in report.questions for found in question.best["model"]]
    assert any(one.chunk is None for one in found)
    assert all(one.chunk is not None for one in found if one.is_right)


def test_a_held_out_part_is_told_in_the_words_and_places_of_the_whole(tmp_path):
    whole = drifting_store([40, 30, 50, 60], seed=4, ids=["a", "b", "c", "d"])
    vectors = whole.vectors[:].copy()
    vectors[[20, 60, 100, 140]] = vectors[5]  # copies cut whichever chain is held out
    ChainStore.write(tmp_path / "s.safetensors", vectors, whole.offsets, whole.ids)
    lines = [
        json.dumps({"id": name, "chunks": [f"{name}, sentence {i}" for i in range(length)]})
        for name, length in zip(whole.ids, whole.lengths.tolist(), strict=True)
    ]
    (tmp_path / "s.chunks.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    train, held_out = split_chains(ChainStore.open(tmp_path / "s.safetensors"), 0.3)
    assert len(held_out) > len(set(held_out.origins))
    report = evaluate(ZeroDelta(), held_out, 10, "store", 1, distractors=train, questions=1000)
    told = {chunk for q in report.questions for chunk in [*q.context, q.target, *(f.chunk for f in q.best["model"])]}
    assert {chunk.chain for chunk in told} == {"a", "b", "c", "d"}
    assert all(chunk.text == f"{chunk.chain}, sentence {chunk.position}" for chunk in told)


def test_questions_are_kept_out_of_the_numbers_and_only_on_request(store):
    with_questions = evaluate(ZeroDelta(), store, 10, stride=3, questions=7)
    assert [len(with_questions.questions), len(evaluate(ZeroDelta(), store, 10, stride=3).questions)] == [7, 0]
    assert "questions" not in with_questions.to_dict()
    assert "Question(" not in repr(with_questions)
    with pytest.raises(ValueError, match="evaluate: questions: expected a whole number of at least 0, got -1"):
        evaluate(ZeroDelta(), store, 10, questions=-1)


def test_three_predictions_are_two_found_and_one_missed(store):
    report = evaluate(ZeroDelta(), store, 10, stride=3, questions=500)
    found = [question for question in report.questions if question.ranks["model"] <= 5]
    missed = [question for question in report.questions if question.ranks["model"] > 5]
    shown = three_predictions(report.questions, width=80)
    head, *parts = shown.split("\n\n")
    assert (
        head == f"Three of {len(report.questions)} questions, of which the model finds {len(found)} among its first 5:"
    )
    for part, question in zip(
        parts, [found[len(found) // 3], found[2 * len(found) // 3], missed[len(missed) // 2]], strict=True
    ):
        target = question.target
        assert part.splitlines()[0] == f"{target.chain}, after {question.read} chunks"
        assert f"{target.chain}, chunk {target.position}" in part
    assert f"right: {missed[len(missed) // 2].ranks['model']}" in parts[2]
    assert max(map(len, shown.splitlines())) <= 80
