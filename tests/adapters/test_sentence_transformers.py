"""`adapters.sentence_transformers.semantic_search` beside the original."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
import torch

util = pytest.importorskip("sentence_transformers.util")
semantic_search = pytest.importorskip("lvm_fast.adapters.sentence_transformers").semantic_search
FUNCTIONS = [util.cos_sim, util.dot_score, util.euclidean_sim]


def test_the_signature_is_the_originals():
    ours, theirs = (inspect.signature(search).parameters for search in (semantic_search, util.semantic_search))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("top_k", [1, 5, 80, 100])
def test_hits_are_the_originals(rng, function, top_k):
    queries, corpus = (torch.from_numpy(rng.standard_normal((n, 32)).astype(np.float32)) for n in (7, 80))
    ours = semantic_search(queries, corpus, top_k=top_k, score_function=function)
    theirs = util.semantic_search(
        queries, corpus, top_k=top_k, score_function=function, query_chunk_size=3, corpus_chunk_size=33
    )
    assert [[hit["corpus_id"] for hit in hits] for hits in ours] == [
        [hit["corpus_id"] for hit in hits] for hits in theirs
    ]
    assert [[list(hit) for hit in hits] for hits in ours] == [[list(hit) for hit in hits] for hits in theirs]
    for our_hits, their_hits in zip(ours, theirs, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in our_hits], [hit["score"] for hit in their_hits], atol=2e-6)
        assert all(type(hit["corpus_id"]) is int and type(hit["score"]) is float for hit in our_hits)


@pytest.mark.parametrize(
    "kind", [torch.from_numpy, lambda x: list(torch.from_numpy(x)), lambda x: torch.from_numpy(x).half(), np.asarray]
)
def test_embeddings_may_be_arrays_lists_and_tensors(rng, kind):
    rows = rng.integers(-9, 10, (50, 8)).astype(np.float32)
    hits = semantic_search(kind(rows[:3]), kind(rows), top_k=2)
    assert [one[0]["corpus_id"] for one in hits] == [0, 1, 2]
    theirs = util.semantic_search(torch.from_numpy(rows[1]), torch.from_numpy(rows), top_k=2)
    alone = semantic_search(torch.from_numpy(rows[1]), torch.from_numpy(rows), top_k=2)
    assert [[hit["corpus_id"] for hit in one] for one in alone] == [[hit["corpus_id"] for hit in one] for one in theirs]


def test_equal_scores_go_to_the_lower_id():
    (hits,) = semantic_search(np.ones((1, 4), np.float32), np.ones((9, 4), np.float32), top_k=4)
    assert [hit["corpus_id"] for hit in hits] == [0, 1, 2, 3]


ROWS = np.eye(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: semantic_search(ROWS, ROWS, top_k=0), "semantic_search: top_k: expected a whole number of at least 1"),
        (lambda: semantic_search(ROWS, ROWS, 0), "semantic_search: query_chunk_size: expected a whole number"),
        (lambda: semantic_search(ROWS, ROWS, score_function=max), "score_function: expected one of cos_sim, dot_score"),
        (lambda: semantic_search(ROWS[:, :2], ROWS), "expected 3 columns like the bank, got 2"),
        (lambda: semantic_search(ROWS, ROWS * 0), "row 0 is all zeros"),
        (lambda: semantic_search(torch.eye(3).to_sparse(), ROWS), "query_embeddings: expected a dense tensor"),
    ],
)
def test_mistakes_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_the_package_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers.util", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.delitem(sys.modules, "lvm_fast.adapters.sentence_transformers")
    with pytest.raises(ImportError, match=r"pip install 'lvm_fast\[adapters\]'"):
        import lvm_fast.adapters.sentence_transformers  # noqa: F401
