"""A search backend of MTEB (`mteb.IndexEncoderSearchProtocol`) that searches exactly. MTEB itself is not needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._util.numbers import whole_number
from ..retrieval.bank import VectorBank
from ..retrieval.checked_input import array_of

_METRICS = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}

Lists = tuple[list[list[float]], list[list[int]]]


class ExactSearchIndex:
    """Searches the documents of a task, as in ``SearchEncoderWrapper(model, index_backend=ExactSearchIndex(model))``.

    Args:
        model: An MTEB encoder; `model.mteb_model_meta.similarity_fn_name` says how embeddings are compared.
        device: Where to search, as `VectorBank` takes it.

    Raises:
        ValueError: The model compares in another way than by cosine, dot product or distance.
    """

    def __init__(self, model: Any, *, device: Any = "cpu") -> None:
        named = model.mteb_model_meta.similarity_fn_name
        name = getattr(named, "value", named)
        if name not in _METRICS:
            expected = ", ".join(_METRICS)
            raise ValueError(f"ExactSearchIndex: model: expected a similarity of {expected}, got {name!r}")
        self._metric, self._device = _METRICS[name], device
        self._bank: VectorBank | None = None
        self._names: list[str] = []

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Add documents: embeddings (n, D) and their n names."""
        rows = np.array(array_of(embeddings, "ExactSearchIndex.add_documents: embeddings"), np.float32)
        if len(rows) != len(idxs):
            raise ValueError(f"ExactSearchIndex.add_documents: idxs: expected {len(rows)} names, got {len(idxs)}")
        if self._bank is None:
            self._bank = VectorBank(rows, metric=self._metric, device=self._device)
        else:
            self._bank.append(rows)
        self._names.extend(idxs)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any] | None = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> Lists:
        """Find the nearest documents of each query, or the nearest of those that were ranked for it before.

        Args:
            embeddings: (B, D) of the queries.
            top_k: At most so many a query.
            similarity_fn: Not called: the model's meta data say what it computes.
            top_ranked: The names of each query's candidates, by the query's name.
            query_idx_to_id: The name of each query; needed with `top_ranked`.

        Returns:
            Scores (of distances the negative), and places: of the documents added, or in the query's own candidates.

        Raises:
            ValueError: No documents were added, or a name is missing.
        """
        depth = whole_number(top_k, "ExactSearchIndex.search: top_k", least=1)
        queries = array_of(embeddings, "ExactSearchIndex.search: embeddings")
        if self._bank is None:
            raise ValueError("ExactSearchIndex.search: expected documents to search, got none; call add_documents")
        if top_ranked is None:
            return self._nearest(self._bank, queries, depth)
        if query_idx_to_id is None:
            raise ValueError("ExactSearchIndex.search: query_idx_to_id: expected the queries' names with top_ranked")
        place = {name: i for i, name in enumerate(self._names)}
        scores: list[list[float]] = []
        places: list[list[int]] = []
        for i in range(len(queries)):
            ranked = top_ranked.get(query_idx_to_id[i], ())
            missing = [name for name in ranked if name not in place]
            if missing:
                raise ValueError(f"ExactSearchIndex.search: top_ranked: no document {missing[0]!r} was added")
            found = self._rerank(self._bank, queries[i : i + 1], [place[name] for name in ranked], depth)
            scores.extend(found[0])
            places.extend(found[1])
        return scores, places

    def clear(self) -> None:
        """Forget all documents."""
        self._bank, self._names = None, []

    def _rerank(self, bank: VectorBank, query: Any, candidates: list[int], depth: int) -> Lists:
        if not candidates:
            return [[]], [[]]
        return self._nearest(VectorBank(bank.vectors[candidates], metric=self._metric), query, depth)

    def _nearest(self, bank: VectorBank, queries: Any, depth: int) -> Lists:
        scores, ids = bank.topk(queries, min(depth, len(bank)))
        if self._metric == "l2":
            scores = -np.sqrt(scores)
        return scores.tolist(), ids.tolist()
