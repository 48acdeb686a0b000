"""`adapters.mteb.ExactSearchIndex` beside MTEB's own FAISS backend."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lvm_fast.adapters.mteb import ExactSearchIndex

ROWS = np.random.default_rng(4).standard_normal((60, 16)).astype(np.float32)
NAMES = [f"document {i}" for i in range(60)]
QUERIES = ROWS[:9] + np.float32(0.1)


def model(similarity):
    return SimpleNamespace(mteb_model_meta=SimpleNamespace(similarity_fn_name=similarity))


@pytest.fixture(params=["COSINE", "DOT_PRODUCT", "EUCLIDEAN"])
def both(request):
    meta, encoder_index = pytest.importorskip("mteb.models.model_meta"), pytest.importorskip("mteb.models")
    if sys.platform == "darwin":
        pytest.skip("FAISS brings an OpenMP that aborts beside torch's")
    pytest.importorskip("faiss")
    kind = model(getattr(meta.ScoringFunction, request.param))
    pair = ExactSearchIndex(kind), encoder_index.search_encoder_index.FaissSearchIndex(kind)
    for backend in pair:
        backend.add_documents(ROWS[:40].copy(), NAMES[:40])
        backend.add_documents(ROWS[40:].copy(), NAMES[40:])
    return pair


def check_alike(ours, theirs):
    assert ours[1] == theirs[1]
    for our_scores, their_scores in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(our_scores, their_scores, atol=2e-5)


@pytest.mark.parametrize("top_k", [1, 10, 100])
def test_search(both, top_k):
    check_alike(*[backend.search(QUERIES.copy(), top_k, None) for backend in both])


@pytest.mark.parametrize("top_k", [2, 10])
def test_reranking(both, top_k):
    rng = np.random.default_rng(0)
    names = {i: f"query {i}" for i in range(9)}
    ranked = {name: [NAMES[i] for i in rng.permutation(60)[:5]] for name in names.values()}
    check_alike(*[backend.search(QUERIES.copy(), top_k, None, ranked, names) for backend in both])


def test_a_query_without_candidates_and_a_cleared_backend():
    backend = ExactSearchIndex(model("dot"))
    backend.add_documents(torch.from_numpy(ROWS), NAMES)
    scores, places = backend.search(torch.from_numpy(QUERIES[:2]), 3, None, {"a": NAMES[5:7]}, {0: "a", 1: "b"})
    assert (sorted(places[0]), places[1], scores[1]) == ([0, 1], [], [])
    backend.clear()
    with pytest.raises(ValueError, match="expected documents to search, got none"):
        backend.search(QUERIES, 3)
    backend.add_documents(ROWS[:2], NAMES[:2])
    assert len(backend.search(QUERIES, 3)[1][0]) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda backend: ExactSearchIndex(model("max_sim")),
            "a similarity of cosine, dot, euclidean, got 'max",
        ),
        (lambda backend: backend.add_documents(ROWS, NAMES[:3]), "idxs: expected 60 names, got 3"),
        (lambda backend: backend.search(QUERIES, 0), "top_k: expected a whole number of at least 1, got 0"),
        (
            lambda backend: backend.search(QUERIES, 1, None, {"a": ["x"]}),
            "query_idx_to_id: expected the queries'",
        ),
        (lambda backend: backend.search(QUERIES[:1], 1, None, {"a": ["x"]}, {0: "a"}), "no document 'x' was added"),
    ],
)
def test_mistakes_are_value_errors(call, message):
    backend = ExactSearchIndex(model("dot"))
    backend.add_documents(ROWS, NAMES)
    with pytest.raises(ValueError, match=message):
        call(backend)
