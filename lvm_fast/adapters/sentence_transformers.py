"""`sentence_transformers.util.semantic_search`, answered exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._util.numbers import whole_number
from .._util.optional import optional_module
from ..ops.rows import is_tensor
from ..retrieval.bank import VectorBank
from ..retrieval.checked_input import array_of

_util: Any = optional_module("sentence_transformers.util", "adapters", "lvm_fast.adapters.sentence_transformers")
_METRICS = {_util.cos_sim: "cosine", _util.dot_score: "ip", _util.euclidean_sim: "l2"}


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500000,
    top_k: int = 10,
    score_function: Callable[[Any, Any], Any] = _util.cos_sim,
) -> list[list[dict[str, int | float]]]:
    """Find the embeddings of a corpus that are nearest to each query, exactly; equal scores go to the lower id.

    Args:
        query_embeddings: (B, D) array or tensor, a list of vectors, or one vector (D,).
        corpus_embeddings: (N, D). A tensor on a GPU is searched there.
        query_chunk_size, corpus_chunk_size: Taken for the sake of the original; memory is bounded without them.
        top_k: At most so many a query.
        score_function: `cos_sim`, `dot_score` or `euclidean_sim` of `sentence_transformers.util`.

    Returns:
        For each query a list of {"corpus_id": int, "score": float}, best first.

    Raises:
        ValueError: Another score function, NaN or infinity, a zero vector by `cos_sim`, a sparse tensor, or shapes
            that do not fit.

    Example:
        >>> corpus = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
        >>> semantic_search(np.array([[0.0, 2.0]], np.float32), corpus, top_k=1)
        [[{'corpus_id': 1, 'score': 0.800000011920929}]]
    """
    for name, size in (("query_chunk_size", query_chunk_size), ("corpus_chunk_size", corpus_chunk_size)):
        whole_number(size, f"semantic_search: {name}", least=1)
    depth = whole_number(top_k, "semantic_search: top_k", least=1)
    if score_function not in _METRICS:
        known = ", ".join(function.__name__ for function in _METRICS)
        raise ValueError(f"semantic_search: score_function: expected one of {known}, got {score_function!r}")
    metric = _METRICS[score_function]
    queries = array_of(query_embeddings, "semantic_search: query_embeddings")
    corpus = array_of(corpus_embeddings, "semantic_search: corpus_embeddings")
    bank = VectorBank(corpus, metric=metric, device=_device_of(corpus_embeddings))
    scores, ids = bank.topk(queries[None] if queries.ndim == 1 else queries, min(depth, len(bank)))
    if metric == "l2":
        scores = -np.sqrt(scores)
    return [
        [{"corpus_id": i, "score": score} for i, score in zip(*one, strict=True)]
        for one in zip(ids.tolist(), scores.tolist(), strict=True)
    ]


def _device_of(embeddings: Any) -> str:
    """Return the name of the GPU that the embeddings lie on, else "cpu"."""
    device = embeddings.device if is_tensor(embeddings) else None
    if device is None or device.type not in ("cuda", "mps"):
        return "cpu"
    return str(device) if device.type == "cuda" else "mps"
